package secret_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/secret"
)

type (
	password string
	pem      []byte
	login    struct {
		User, Password string
		Ports          []int
		Until          time.Time
	}
)

// roundTrip holds v in every way, and has it back.
func roundTrip[T any](t *testing.T, k *keys, v T) {
	t.Helper()
	for _, h := range secret.Handlings() {
		held := value(t, k, v, secret.Options{Name: "it", Key: "payments", Handling: h})
		for range 2 { // the second is no worse than the first
			got, err := held.Get(t.Context())
			switch {
			case h == secret.Sealed && !errors.Is(err, secret.ErrSealed):
				t.Errorf("Get of a sealed %T: %v", v, err)
			case h != secret.Sealed && (err != nil || !reflect.DeepEqual(got, v)):
				t.Errorf("%s: Get of a %T = %v, %v", h, v, got, err)
			}
			if err := held.Use(t.Context(), func(got T) error {
				if !reflect.DeepEqual(got, v) {
					t.Errorf("%s: Use of a %T shows %v", h, v, got)
				}
				return nil
			}); err != nil {
				t.Errorf("%s: Use of a %T: %v", h, v, err)
			}
		}
		if h == secret.Mask {
			continue
		}
		token, err := held.Ciphertext(t.Context())
		if err != nil || !bytes.HasPrefix(token, []byte("keyrotor:payments:v1:")) {
			t.Errorf("%s: the ciphertext of a %T is %s, %v", h, v, token, err)
		}
		again, err := secret.FromToken[T](t.Context(), k, token, secret.Options{Name: "it"})
		if err != nil || again.Key() != "payments" {
			t.Errorf("%s: a %T of its token: key %q, %v", h, v, again.Key(), err)
		}
		if same, err := held.Equal(t.Context(), again); !same || err != nil {
			t.Errorf("%s: a %T of its token is another: %v", h, v, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	k := newKeys(t)
	roundTrip(t, k, "s3cret")
	roundTrip(t, k, "")
	roundTrip(t, k, []byte("s3cret"))
	roundTrip(t, k, []byte{})
	roundTrip(t, k, password("s3cret"))
	roundTrip(t, k, pem("s3cret"))
	roundTrip(t, k, 4711)
	roundTrip(t, k, map[string]string{"a": "<b>"})
	roundTrip(t, k, &login{User: "u"})
	roundTrip(t, k, login{"u", "p", []int{1}, time.Unix(1, 0).UTC()})
	roundTrip(t, k, strings.Repeat("x", 3<<20))
}

// TestWhatDoesNotComeBack: what JSON would lose or redact is refused, without a word of it.
func TestWhatDoesNotComeBack(t *testing.T) {
	refused := func(err error) {
		t.Helper()
		if !errors.Is(err, secret.ErrEncoding) || !strings.HasPrefix(err.Error(), `secret value "it": `) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v, want ErrEncoding and nothing of the value", err)
		}
	}
	o := secret.Options{Name: "it", Handling: secret.Mask}
	_, err := secret.NewValue(t.Context(), nil, secret.FromString("s3cret"), o)
	refused(err)
	_, err = secret.NewValue(t.Context(), nil, struct{ A, b string }{"s3cret", "s3cret"}, o)
	refused(err)
	_, err = secret.NewValue(t.Context(), nil, map[string]any{"s3cret": math.NaN()}, o)
	refused(err)
	_, err = secret.NewValue(t.Context(), nil, []any{"s3cret", 1}, o)
	refused(err)
	inner := value(t, nil, "s3cret", o)
	_, err = secret.NewValue(t.Context(), nil, struct{ V secret.Value[string] }{inner}, o)
	refused(err)
	_, err = secret.NewValue(t.Context(), nil, func() {}, o)
	refused(err)
}

// TestUseWipes: what Use showed is zeros afterwards, also if it ended badly.
func TestUseWipes(t *testing.T) {
	k := newKeys(t)
	failure := errors.New("failed")
	for _, h := range secret.Handlings() {
		o := secret.Options{Name: "it", Key: "payments", Handling: h}
		var kept []byte
		if err := value(t, k, []byte("s3cret"), o).Use(t.Context(), func(b []byte) error {
			kept = b
			return failure
		}); err != failure { //nolint:errorlint // it is to be the very same
			t.Errorf("%s: Use answers %v", h, err)
		}
		if !bytes.Equal(kept, make([]byte, 6)) {
			t.Errorf("%s: %q is left", h, kept)
		}
		var text string
		func() {
			defer func() { _ = recover() }()
			_ = value(t, k, "s3cret", o).Use(t.Context(), func(s string) error {
				text = s
				panic("boom")
			})
		}()
		if text != "\x00\x00\x00\x00\x00\x00" {
			t.Errorf("%s: after a panic %q is left", h, text)
		}
	}
}

// TestGetIsOwn: what Get answers is the caller's, and what New was given stays theirs.
func TestGetIsOwn(t *testing.T) {
	k := newKeys(t)
	for _, h := range []secret.Handling{secret.Mask, secret.Encrypt} {
		given := []byte("s3cret")
		v := value(t, k, given, secret.Options{Name: "it", Key: "payments", Handling: h})
		clear(given)
		got, err := v.Get(t.Context())
		if err != nil || string(got) != "s3cret" {
			t.Fatalf("%s: %q, %v", h, got, err)
		}
		clear(got)
		if again, err := v.Get(t.Context()); err != nil || string(again) != "s3cret" {
			t.Errorf("%s: after a change of what Get answered: %q, %v", h, again, err)
		}
	}
}

// TestAccessesOfSealed: each opening counts, and those that fail do not.
func TestAccessesOfSealed(t *testing.T) {
	k := newKeys(t)
	v := value(t, k, "s3cret", secret.Options{Name: "DB", Key: "payments", Handling: secret.Sealed})
	open := value(t, k, "s3cret", secret.Options{Name: "OPEN", Key: "payments"})
	used(t, v)
	used(t, open)
	if _, err := v.Get(t.Context()); err == nil || err.Error() != `secret value "DB": is sealed: it is open inside Use only` {
		t.Errorf("Get: %v", err)
	}
	if same, err := v.Equal(t.Context(), open); !same || err != nil {
		t.Errorf("Equal = %v, %v", same, err)
	}
	if _, err := v.Ciphertext(t.Context()); err != nil {
		t.Error(err)
	}
	v.Wipe()
	if err := v.Use(t.Context(), func(string) error { return nil }); !errors.Is(err, secret.ErrEmpty) {
		t.Errorf("after Wipe: %v", err)
	}
	if n, others := k.accessesTo("payments/DB"), k.accessesTo("payments/OPEN"); n != 2 || others != 0 {
		t.Errorf("%d accesses to the sealed value and %d to the other, want 2 and 0", n, others)
	}
}

// closing is an engine that somebody closes just after it decrypted.
type closing struct{ *engine.Engine }

func (c closing) AppendDecrypt(ctx context.Context, dst, ciphertext, aad []byte) ([]byte, error) {
	plaintext, err := c.Engine.AppendDecrypt(ctx, dst, ciphertext, aad)
	return plaintext, errors.Join(err, c.Close(ctx))
}

// TestUseWhileClosed: what nobody would record is not shown.
func TestUseWhileClosed(t *testing.T) {
	for name, access := range map[string]func(v secret.Value[string]) error{
		"Use": func(v secret.Value[string]) error {
			return v.Use(t.Context(), func(s string) error {
				t.Errorf("%q is shown", s)
				return nil
			})
		},
		"Equal": func(v secret.Value[string]) error {
			mask := value(t, nil, "s3cret", secret.Options{Name: "OPEN", Handling: secret.Mask})
			same, err := mask.Equal(t.Context(), v)
			if same {
				t.Error("they are told to be equal")
			}
			return err
		},
	} {
		c := closing{newKeys(t).Engine}
		v := value(t, c, "s3cret", secret.Options{Name: "DB", Key: "payments", Handling: secret.Sealed})
		if err := access(v); !errors.Is(err, engine.ErrClosed) || !strings.Contains(err.Error(), `"DB"`) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
}

func TestEqualValues(t *testing.T) {
	k := newKeys(t)
	o := secret.Options{Name: "it", Key: "payments"}
	a, b, c := value(t, k, "x", o), value(t, nil, "x", secret.Options{Name: "other", Handling: secret.Mask}), value(t, k, "y", o)
	for _, x := range []struct {
		v    secret.Value[string]
		want bool
	}{{a, true}, {b, true}, {c, false}} {
		if same, err := a.Equal(t.Context(), x.v); same != x.want || err != nil {
			t.Errorf("Equal = %v, %v; want %v", same, err, x.want)
		}
	}
	if _, err := a.Equal(t.Context(), secret.Value[string]{}); !errors.Is(err, secret.ErrEmpty) {
		t.Errorf("with nothing: %v", err)
	}
}

// TestBoundToItsName: the ciphertext of one value is not that of another.
func TestBoundToItsName(t *testing.T) {
	k := newKeys(t)
	token, err := value(t, k, "s3cret", secret.Options{Name: "A", Key: "payments"}).Ciphertext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other, err := secret.FromToken[string](t.Context(), k, token, secret.Options{Name: "B"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Get(t.Context()); !errors.Is(err, keyring.ErrAuthentication) || !strings.HasPrefix(err.Error(), `secret value "B": `) {
		t.Errorf("under another name: %v", err)
	}
	if plain, err := k.Decrypt(t.Context(), token, []byte("A")); string(plain) != "s3cret" || err != nil {
		t.Errorf("its name is not its AAD: %q, %v", plain, err)
	}
}

// TestOptions: what is wrong with a value is said before there is one.
func TestOptions(t *testing.T) {
	k := newKeys(t)
	long := strings.Repeat("x", secret.MaxName)
	value(t, k, "x", secret.Options{Name: long, Key: "payments"})
	value(t, k, "x", secret.Options{Name: "aZ09._-/:@+", Key: "payments"})
	for _, c := range []struct {
		o    secret.Options
		c    secret.Cipher
		want string
	}{
		{secret.Options{Key: "payments"}, k, "not a name for a secret value: it has 0 bytes: use 1 to 128"},
		{secret.Options{Name: long + "x", Key: "payments"}, k, "it has 129 bytes"},
		{secret.Options{Name: "a,b", Key: "payments"}, k, `"a,b" has ',' at byte 1`},
		{secret.Options{Name: "a\n", Key: "payments"}, k, `"a\n" has '\n' at byte 1`},
		{secret.Options{Name: "ä", Key: "payments"}, k, `"ä" has 'ä' at byte 0: use letters, digits and ._-/:@+`},
		{secret.Options{Name: "it", Key: "payments", Handling: "seal"}, k, `there is no handling "seal": use one of ["mask" "encrypt" "sealed"]`},
		{secret.Options{Name: "it"}, k, `secret value "it": it is to be encrypted, which takes a cipher and the name of a key`},
		{secret.Options{Name: "it", Key: "payments"}, nil, `secret value "it": it is to be encrypted`},
		{secret.Options{Name: "it", Key: "nobody"}, k, `secret value "it": unknown key: "nobody"`},
	} {
		if v, err := secret.NewValue(t.Context(), c.c, "s3cret", c.o); err == nil || !strings.Contains(err.Error(), c.want) || v.Name() != "" {
			t.Errorf("%+v: %v, want %s", c.o, err, c.want)
		}
	}
}

func TestFromTokenRefuses(t *testing.T) {
	k := newKeys(t)
	token, err := value(t, k, "x", secret.Options{Name: "A", Key: "payments"}).Ciphertext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		token string
		o     secret.Options
		c     secret.Cipher
		want  string
	}{
		{"s3cret", secret.Options{Name: "A"}, k, `secret value "A": malformed ciphertext`},
		{string(token), secret.Options{Name: "A", Key: "orders"}, k, `the token is of key "payments", and key "orders" is meant`},
		{string(token), secret.Options{}, k, `not a name`},
		{string(token), secret.Options{Name: "A"}, nil, `a token takes a cipher`},
		{string(token), secret.Options{Name: "B", Handling: secret.Mask}, k, `authentication failed`},
	} {
		_, err := secret.FromToken[string](t.Context(), c.c, []byte(c.token), c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	// The secret is "x", which is no number.
	if _, err := secret.FromToken[int](t.Context(), k, token, secret.Options{Name: "A", Handling: secret.Mask}); !errors.Is(err, secret.ErrEncoding) {
		t.Errorf("as a number: %v", err)
	}
	masked, err := secret.FromToken[string](t.Context(), k, token, secret.Options{Name: "A", Handling: secret.Mask})
	if err != nil || masked.Key() != "" {
		t.Fatalf("masked: key %q, %v", masked.Key(), err)
	}
	if got, err := masked.Get(t.Context()); got != "x" || err != nil {
		t.Errorf("masked: %q, %v", got, err)
	}
}

// TestFromTokenAsPrinted: the line break with which a token is printed is no part of it.
func TestFromTokenAsPrinted(t *testing.T) {
	k := newKeys(t)
	token, err := k.Encrypt(t.Context(), "payments", []byte("s3cret"), []byte("A"))
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"", "\n", "\r\n"} {
		v, err := secret.FromToken[string](t.Context(), k, append(bytes.Clone(token), end...), secret.Options{Name: "A"})
		if err != nil {
			t.Fatal(err)
		}
		if got := used(t, v); got != "s3cret" {
			t.Errorf("with %q: %q", end, got)
		}
		if again, err := v.Ciphertext(t.Context()); err != nil || !bytes.Equal(again, token) {
			t.Errorf("with %q: %q, %v", end, again, err)
		}
	}
	// A binary ciphertext may end like that by itself.
	for {
		sealed, err := k.AppendEncryptBinary(t.Context(), nil, "payments", []byte("s3cret"), []byte("A"))
		if err != nil {
			t.Fatal(err)
		}
		if sealed[len(sealed)-1] != '\n' {
			continue
		}
		v, err := secret.FromToken[string](t.Context(), k, sealed, secret.Options{Name: "A"})
		if err != nil {
			t.Fatal(err)
		}
		if got := used(t, v); got != "s3cret" {
			t.Errorf("binary: %q", got)
		}
		return
	}
}

// TestEmptyValues: a value that holds nothing says so.
func TestEmptyValues(t *testing.T) {
	wiped := value(t, nil, "s3cret", secret.Options{Name: "it", Handling: secret.Mask})
	again := wiped
	wiped.Wipe()
	for name, v := range map[string]secret.Value[string]{"zero": {}, "wiped": wiped, "a copy of a wiped one": again} {
		if _, err := v.Get(t.Context()); !errors.Is(err, secret.ErrEmpty) {
			t.Errorf("%s: Get: %v", name, err)
		}
		if err := v.Use(t.Context(), nil); !errors.Is(err, secret.ErrEmpty) {
			t.Errorf("%s: Use: %v", name, err)
		}
		if _, err := v.Equal(t.Context(), v); !errors.Is(err, secret.ErrEmpty) {
			t.Errorf("%s: Equal: %v", name, err)
		}
		if _, err := v.Ciphertext(t.Context()); err == nil {
			t.Errorf("%s has a ciphertext", name)
		}
		v.Wipe()
	}
	var zero secret.Value[string]
	if zero.Name() != "" || zero.Key() != "" || zero.Handling() != "" {
		t.Error("nothing is called something")
	}
}
