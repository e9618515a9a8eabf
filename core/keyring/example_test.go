package keyring_test

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/secret"
)

func ExampleParseToken() {
	token, err := keyring.ParseToken([]byte("keyrotor:payments:v7:AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))
	fmt.Printf("%s %d %v\n", token.Key, token.Version, err)
	_, err = keyring.ParseToken([]byte("keyrotor:payments:v07:AQAA"))
	fmt.Println(err)
	// Output:
	// payments 7 <nil>
	// malformed ciphertext: no version after the key name
}

// The two forms of a ciphertext become one another without its key.
func ExampleTextToBinary() {
	text := []byte("keyrotor:payments:v7:AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	binary, err := keyring.TextToBinary(text, keyring.KeyID{0xca, 0xfe})
	fmt.Printf("%x %v\n", binary[:16], err)
	again, err := keyring.BinaryToText(binary, "payments") // the name of the key whose id begins so
	fmt.Println(bytes.Equal(again, text), err)
	// Output:
	// d34b5201cafe00000000000000000007 <nil>
	// true <nil>
}

func ExampleKDF() {
	kdf := keyring.NewKDF()
	root, err := kdf.Root(secret.FromString("kinetic-slalom-unwrapped-pelican-ozone-dwarf"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer root.Wipe()
	fmt.Println(root, root.Len())
	_, err = kdf.Root(secret.FromString("hunter2"))
	fmt.Println(errors.Is(err, keyring.ErrWeak))
	// Output:
	// [redacted] 32
	// true
}

func ExampleParseRoot() {
	root, err := keyring.ParseRoot(keyring.FormAuto, []byte("Dx4tPEtaaXiHlqW0w9Lh8AARIjNEVWZ3iJmqu8zd7v8=\n"))
	fmt.Println(root, root.Len(), root.Check(), err)
	_, err = keyring.ParseRoot(keyring.FormAuto, []byte("hunter2"))
	fmt.Println(err)
	// Output:
	// [redacted] 32 <nil> <nil>
	// not a key: it has 7 bytes; a key is 32 bytes, 64 hex digits, or 43 or 44 characters of base64
}

func ExampleRing() {
	// A store answers records; whoever unwraps a version's root opens it for the ring.
	binding := keyring.Binding{Key: keyring.KeyID{1}, Version: 1, Algorithm: keyring.AES256GCM}
	root := keyring.GenerateRoot()
	defer root.Wipe()
	opened, err := keyring.NewCipher(root, binding, "payments")
	if err != nil {
		fmt.Println(err)
		return
	}
	ring := keyring.NewRing(&keyring.Record{
		ID: binding.Key, Name: "payments", Primary: 1,
		Versions: []keyring.Version{{Number: 1, State: keyring.Active, Algorithm: binding.Algorithm}},
	})
	if err := ring.SetCipher(opened); err != nil {
		fmt.Println(err)
		return
	}
	ciphertext, err := ring.Opened(1).AppendBinary(nil, []byte("s3cret"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	parsed, err := keyring.ParseBinary(ciphertext)
	if err != nil {
		fmt.Println(err)
		return
	}
	plaintext, err := ring.Opened(parsed.Version()).OpenBinary(nil, parsed, nil)
	fmt.Printf("%s %v\n", plaintext, err)
	// Output: s3cret <nil>
}

// Why a version was made, or a key rotated. The set is closed.
func ExampleReasons() {
	fmt.Println(keyring.Reasons())
	fmt.Println(keyring.Reason("because").Valid())
	// Output:
	// [initial manual emergency time_expired usage_limit scheduled composite]
	// false
}
