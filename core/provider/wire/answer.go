package wire

import (
	"cmp"
	"crypto/subtle"
	"errors"
	"fmt"
	"unicode"

	"google.golang.org/protobuf/proto"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// The functions in this file hold an answer to what the contract promises of it. They
// see one answer and its request; what an instance said earlier is for the host to
// remember. That results stand in the items' order cannot be seen here: whoever wraps
// a root opens the wrap again and compares.
//
// A plugin that breaks a promise in one result of a batch is believed in none.

// maxSchema bounds a schema in bytes on the wire, since plugins.lock keeps it.
const maxSchema = 1 << 20

// refused is the error of an answer that breaks a promise, or that cannot be read.
func refused(err error) error {
	if _, ok := errors.AsType[*provider.PromiseError](err); ok {
		return err
	}
	return provider.BrokenPromise(provider.Internal, "a well-formed answer", "%v", err)
}

// broken is a broken promise that says nothing against the key material.
func broken(promise, act string, args ...any) error {
	return provider.BrokenPromise(provider.Internal, promise, act, args...)
}

// inResult says in which result of a batch the promise was broken.
func inResult(i int, err error) error {
	p, ok := errors.AsType[*provider.PromiseError](err)
	if !ok {
		return err
	}
	return provider.BrokenPromise(provider.CodeOf(err), p.Promise, "result %d: %s", i, p.Act)
}

func checkCount(results, items int) error {
	if results != items {
		return broken("one result an item", "it answered %d for %d", results, items)
	}
	return nil
}

func errNoOutcome() error {
	return broken("a result is an outcome or an error", "it is neither")
}

// checkPrintable bounds a text and keeps from it what could steer a terminal.
func checkPrintable(what, s string) error {
	if len(s) > provider.MaxText {
		return broken(fmt.Sprintf("a text has at most %d bytes", provider.MaxText), "the %s has %d", what, len(s))
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return broken("a text is printable", "the %s is %.80q", what, s)
		}
	}
	return nil
}

// checkKEK holds the id of a key-encryption key and its version, which may be empty.
func checkKEK(id, version string) error {
	if id == "" {
		return broken("the key-encryption key has an id", "it is empty")
	}
	return cmp.Or(checkPrintable("key-encryption key's id", id), checkPrintable("key-encryption key's version", version))
}

func checkWrapped(w provider.Wrapped) error {
	if n := len(w.Blob); n == 0 || n > provider.MaxBlob {
		return broken(fmt.Sprintf("a wrap has 1 to %d bytes", provider.MaxBlob), "it has %d", n)
	}
	return checkKEK(w.KEKID, w.KEKVersion)
}

// checkRoot tells a root from what cannot be one. Whether it is the right one, only
// its key check value tells.
func checkRoot(root []byte) error {
	switch {
	case len(root) != provider.RootSize:
		return provider.BrokenPromise(provider.Integrity, fmt.Sprintf("a root has %d bytes", provider.RootSize), "it has %d", len(root))
	case subtle.ConstantTimeCompare(root, make([]byte, provider.RootSize)) == 1:
		return provider.BrokenPromise(provider.Integrity, "a root is random", "it is all zeros")
	default:
		return nil
	}
}

// checkUnwrapped compares what opened a wrap with what the wrap names.
func checkUnwrapped(asked provider.Wrapped, u *providerv1.UnwrapResponse_Unwrapped) error {
	if err := cmp.Or(
		checkPrintable("key-encryption key's id", u.GetKekId()),
		checkPrintable("key-encryption key's version", u.GetKekVersion()),
		checkRoot(u.GetPlaintext()),
	); err != nil {
		return err
	}
	if id := u.GetKekId(); id != "" && id != asked.KEKID {
		return provider.BrokenPromise(provider.Integrity, "a wrap opens with the key that it names", "it names %q and was opened with %q", asked.KEKID, id)
	}
	return nil
}

func checkDescribed(d provider.DescribeKeyResponse) error {
	if err := cmp.Or(checkKEK(d.KEKID, d.PrimaryVersion), checkPrintable("algorithm", d.Algorithm)); err != nil {
		return err
	}
	listed := make(map[string]bool, len(d.Versions))
	for _, v := range d.Versions {
		if err := checkPrintable("version", v.Version); err != nil {
			return err
		}
		if listed[v.Version] {
			return broken("each version is listed once", "%q is there twice", v.Version)
		}
		listed[v.Version] = true
	}
	if d.PrimaryVersion != "" && !listed[d.PrimaryVersion] {
		return broken("the primary is one of the versions", "%q is none of the %d", d.PrimaryVersion, len(d.Versions))
	}
	return nil
}

// checkRotated holds a rotation to its request: from the expected version to a new
// one, or pending.
func checkRotated(expected string, r provider.RotateKeyResponse) error {
	if err := cmp.Or(checkPrintable("old version", r.OldVersion), checkPrintable("new version", r.NewVersion)); err != nil {
		return err
	}
	switch {
	case r.Pending && r.NewVersion != "":
		return broken("a pending rotation has no new version yet", "it names %q", r.NewVersion)
	case r.OldVersion != expected && (!r.Pending || r.OldVersion != ""):
		return broken("a rotation starts from the expected version", "%q was expected and it rotated %q", expected, r.OldVersion)
	case !r.Pending && r.NewVersion == "":
		return broken("a rotation names the new version or is pending", "it does neither")
	case !r.Pending && r.NewVersion == r.OldVersion:
		return broken("a rotation makes a new version", "%q is the old one", r.NewVersion)
	default:
		return nil
	}
}

func checkSize(schema *providerv1.Schema) error {
	if n := proto.Size(schema); n > maxSchema {
		return broken(fmt.Sprintf("a schema has at most %d bytes", maxSchema), "it has %d", n)
	}
	return nil
}
