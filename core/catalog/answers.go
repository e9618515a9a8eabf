package catalog

import (
	"crypto/sha256"
	"sync"

	"github.com/keyrotor/keyrotor/core/provider"
)

// answers are what an instance answered before, in whatever process. Package wire holds
// each answer to its request; only who remembers can hold it to the ones before.
type answers struct {
	mu sync.Mutex
	// kek is the key that the instance named, and proved that a wrap under it opened.
	kek    string
	proved bool
	root   [sha256.Size]byte // the digest of the root that was drawn last
}

// holdKEK compares the key that an instance says it works on with the one that it
// named before: an instance has one, and wraps under another would be lost with it.
// Of two names neither of which was proved, neither is believed.
func (a *answers) holdKEK(id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.kek
	switch {
	case before == "":
		a.kek = id
		return nil
	case before == id:
		return nil
	case !a.proved:
		a.kek = ""
	}
	return provider.BrokenPromise(provider.Integrity, "a provider works on one key-encryption key",
		"it named %q before and names %q now; if that is meant, restart Keyrotor", before, id)
}

// opened takes note of which wraps opened. One that does not shows that the key that
// it names may have been made up.
func (a *answers) opened(items []provider.UnwrapItem, results []provider.UnwrapResult) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, item := range items {
		switch {
		case item.Wrapped.KEKID != a.kek:
		case i < len(results) && results[i].Err == nil:
			a.proved = true
		case !a.proved:
			a.kek = ""
		}
	}
}

// holdWraps compares each wrap's key.
func (a *answers) holdWraps(results []provider.WrapResult) error {
	for _, r := range results {
		if r.Err != nil {
			continue
		}
		if err := a.holdKEK(r.Wrapped.KEKID); err != nil {
			return err
		}
	}
	return nil
}

// holdDataKey compares the key, and the root with the last one: what draws the same
// root twice draws no random ones.
func (a *answers) holdDataKey(g provider.GenerateDataKeyResponse) error {
	if err := a.holdKEK(g.Wrapped.KEKID); err != nil {
		return err
	}
	digest := sha256.Sum256(g.Plaintext.Reveal())
	a.mu.Lock()
	defer a.mu.Unlock()
	if digest == a.root {
		return provider.BrokenPromise(provider.Integrity, "each root is drawn anew", "it answered the same one twice")
	}
	a.root = digest
	return nil
}

// made puts a key that the instance made in the former one's place.
func (a *answers) made(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kek, a.proved = id, false
}
