package keyring_test

import (
	"fmt"

	"github.com/keyrotor/keyrotor/core/keyring"
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
