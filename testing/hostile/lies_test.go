package hostile

import (
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/provider"
)

// said is how an error about a call of the provider prod begins.
func said(instance, call string) string {
	return `provider "` + instance + `" (plugin faulty): ` + call + ": "
}

// proving is how the same error begins if the call was to prove a wrap.
func proving(instance string) string {
	return `prove the wrap of provider "` + instance + `": ` + said(instance, "Unwrap")
}

const (
	internalPromise  = "INTERNAL: broke its promise: "
	integrityPromise = "INTEGRITY: broke its promise: "
)

// anotherRoot is what a rotation says of a wrap that does not hold its root.
func anotherRoot(instance string) string {
	return `integrity check failed: provider "` + instance + `" opened another root than it had wrapped; it must not be used until that is explained`
}

// TestLies has a plugin lie in every answer of a rotation, one after the other on one
// host. KEK stands for the provider's key in the errors.
func TestLies(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	kr := s.open()
	const (
		otherKEK = `a provider works on one key-encryption key; it named "KEK" before and names "faulty/other" now; if that is meant, restart Keyrotor`
		opened   = `a wrap opens with the key that it names; result 0: it names "KEK" and was opened with "faulty/other"`
	)
	lies := []struct {
		instance, fault, code, want string
	}{
		// A host that does not know the key's id yet finds out when it proves the wrap.
		{"spare", "Wrap other-kek", "not_found_key", proving("spare") + `NOT_FOUND_KEY: the wrap belongs to KEK "faulty/other", and the file holds "KEK"`},

		{"prod", "GenerateDataKey other-root", "integrity", anotherRoot("prod")},
		{"prod", "GenerateDataKey zero-root", "integrity", said("prod", "GenerateDataKey") + integrityPromise + "a root is random; it is all zeros"},
		{"prod", "GenerateDataKey short-root", "integrity", said("prod", "GenerateDataKey") + integrityPromise + "a root has 32 bytes; it has 31"},
		{"prod", "GenerateDataKey long-root", "integrity", said("prod", "GenerateDataKey") + integrityPromise + "a root has 32 bytes; it has 33"},
		{"prod", "GenerateDataKey other-kek", "integrity", said("prod", "GenerateDataKey") + integrityPromise + otherKEK},
		{"prod", "GenerateDataKey no-kek", "internal", said("prod", "GenerateDataKey") + internalPromise + "the key-encryption key has an id; it is empty"},
		{"prod", "GenerateDataKey other-blob", "integrity", proving("prod") + "INTEGRITY: the wrap under KEK version 1 does not open: it was altered, or its AAD differs"},
		{"prod", "GenerateDataKey no-blob", "internal", said("prod", "GenerateDataKey") + internalPromise + "a wrap has 1 to 16384 bytes; it has 0"},
		{"prod", "GenerateDataKey giant", "internal", said("prod", "GenerateDataKey") + internalPromise + "a wrap has 1 to 16384 bytes; it has 16776192"},
		{"prod", "GenerateDataKey oversized", "limit_exceeded", said("prod", "GenerateDataKey") + "LIMIT_EXCEEDED: a message exceeds the limit of 16777216 bytes: trying to send message larger than max (16777308 vs. 16777216)"},
		{"prod", "GenerateDataKey panic", "internal", said("prod", "GenerateDataKey") + "INTERNAL: provider panicked in GenerateDataKey; the plugin's log says where"},

		{"spare", "Wrap other-kek", "integrity", said("spare", "Wrap") + integrityPromise + otherKEK},
		{"spare", "Wrap other-blob", "integrity", proving("spare") + "INTEGRITY: the wrap under KEK version 1 does not open: it was altered, or its AAD differs"},
		{"spare", "Wrap giant", "internal", said("spare", "Wrap") + internalPromise + "a wrap has 1 to 16384 bytes; result 0: it has 16776192"},
		{"spare", "Wrap missing-item", "internal", said("spare", "Wrap") + internalPromise + "one result an item; it answered 0 for 1"},
		{"spare", "Wrap extra-item", "internal", said("spare", "Wrap") + internalPromise + "one result an item; it answered 2 for 1"},

		{"prod", "Unwrap other-root", "integrity", anotherRoot("prod")},
		{"spare", "Unwrap other-root", "integrity", anotherRoot("spare")},
		{"prod", "Unwrap zero-root", "integrity", proving("prod") + integrityPromise + "a root is random; result 0: it is all zeros"},
		{"prod", "Unwrap short-root", "integrity", proving("prod") + integrityPromise + "a root has 32 bytes; result 0: it has 31"},
		{"prod", "Unwrap long-root", "integrity", proving("prod") + integrityPromise + "a root has 32 bytes; result 0: it has 33"},
		{"prod", "Unwrap giant", "integrity", proving("prod") + integrityPromise + "a root has 32 bytes; result 0: it has 16776192"},
		{"prod", "Unwrap oversized", "limit_exceeded", proving("prod") + "LIMIT_EXCEEDED: a message exceeds the limit of 16777216 bytes: trying to send message larger than max (16777279 vs. 16777216)"},
		{"prod", "Unwrap other-kek", "integrity", proving("prod") + integrityPromise + opened},
		{"prod", "Unwrap missing-item", "internal", proving("prod") + internalPromise + "one result an item; it answered 0 for 1"},
		{"prod", "Unwrap extra-item", "internal", proving("prod") + internalPromise + "one result an item; it answered 2 for 1"},
		{"prod", "Unwrap item-error", "integrity", proving("prod") + "INTEGRITY: token [redacted] cannot open it"},
	}
	for _, lie := range lies {
		kek := s.kek(kr, lie.instance)
		s.fault(lie.instance, lie.fault)
		err := s.refusal(t.Context(), kr, orders, lie.code, strings.ReplaceAll(lie.want, "KEK\"", kek+`"`))
		if broken := strings.Contains(lie.want, "broke its promise"); broken != is[*provider.PromiseError](err) {
			t.Errorf("%s: %#v", lie.fault, err)
		}
		s.readable(kr)
		s.fault(lie.instance, none)
		s.rotates(kr, orders)
	}
	s.readable(kr)
	s.readable(s.open()) // and from what is stored
}

// kek is the id of the key that an instance wraps under, as the store has it.
func (s *scene) kek(kr *core.Keyrotor, instance string) string {
	s.t.Helper()
	key, err := kr.Describe(s.t.Context(), orders)
	must(s.t, err)
	for _, w := range key.Versions[0].Wraps {
		if w.Provider == instance {
			return w.KEKID
		}
	}
	s.t.Fatalf("%q has wrapped nothing", instance)
	return ""
}

// TestLiesWithoutOurSDK has the plugin send what our SDK would not let it.
func TestLiesWithoutOurSDK(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.startFault("no-limits")
	kr := s.open()
	for _, lie := range []struct{ fault, want string }{
		{"GenerateDataKey oversized", said("prod", "GenerateDataKey") + "LIMIT_EXCEEDED: a message exceeds the limit of 16777216 bytes: grpc: received message larger than max (16777308 vs. 16777216)"},
		{"Unwrap oversized", proving("prod") + "LIMIT_EXCEEDED: a message exceeds the limit of 16777216 bytes: grpc: received message larger than max (16777279 vs. 16777216)"},
	} {
		s.fault("prod", lie.fault)
		s.refuses(t.Context(), kr, payments, "limit_exceeded", lie.want)
		s.readable(kr)
		s.fault("prod", none)
		s.rotates(kr, payments)
	}
	s.readable(kr)
}

// TestLiesToAColdHost: a host that has opened no version yet opens none to a wrong
// root, and encrypts nothing under one.
func TestLiesToAColdHost(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	kr := s.open()
	kek := s.kek(kr, "prod")
	const opening = `open version 1 of key "payments": `
	for fault, want := range map[string]string{
		"other-root":   `provider "prod": integrity check failed: the unwrapped root does not match the key check value of version 1`,
		"short-root":   said("prod", "Unwrap") + integrityPromise + "a root has 32 bytes; result 0: it has 31",
		"long-root":    said("prod", "Unwrap") + integrityPromise + "a root has 32 bytes; result 0: it has 33",
		"zero-root":    said("prod", "Unwrap") + integrityPromise + "a root is random; result 0: it is all zeros",
		"other-kek":    said("prod", "Unwrap") + integrityPromise + `a wrap opens with the key that it names; result 0: it names "` + kek + `" and was opened with "faulty/other"`,
		"missing-item": said("prod", "Unwrap") + internalPromise + "one result an item; it answered 0 for 1",
		"extra-item":   said("prod", "Unwrap") + internalPromise + "one result an item; it answered 2 for 1",
	} {
		s.fault("prod", "Unwrap "+fault)
		for text, plaintext := range s.tokens {
			if strings.HasPrefix(text, "keyrotor:orders:") {
				continue // its second wrap is for this
			}
			if got, err := kr.Decrypt(t.Context(), []byte(text), nil); err == nil || err.Error() != opening+want {
				t.Errorf("%s: %q opens to %q, %v\nwant %s", fault, plaintext, got, err, opening+want)
			}
		}
		if got, err := kr.Encrypt(t.Context(), payments, []byte("x"), nil); err == nil || err.Error() != opening+want {
			t.Errorf("%s: encrypted to %s, %v", fault, got, err)
		}
	}
	s.fault("prod", none)
	s.readable(kr)
	s.rotates(kr, payments)
	s.readable(kr)
}

// TestASecondWrapOutlivesALie: the other provider's wrap opens what this one lies about.
func TestASecondWrapOutlivesALie(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.fault("prod", "Unwrap other-root")
	kr := s.open()
	for text, plaintext := range s.tokens {
		if !strings.HasPrefix(text, "keyrotor:orders:") {
			continue
		}
		if got, err := kr.Decrypt(t.Context(), []byte(text), nil); err != nil || string(got) != plaintext {
			t.Errorf("%s opens to %q, %v", text, got, err)
		}
	}
}
