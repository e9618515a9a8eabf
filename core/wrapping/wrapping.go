// Package wrapping puts the roots of key versions under key managers and gets them
// back. Everything that needs a root wrapped or opened goes through here: rotation,
// import, migration, backup, and the engine that decrypts. So there is one place
// that says what a wrap is bound to, and one that believes nothing a provider says
// of a root: a wrap counts once it was opened again and compared, an opened root
// once it matches the key check value.
package wrapping

import (
	"context"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
)

// KeyManager is a provider together with what it says of itself.
type KeyManager interface {
	provider.KeyManager
	Info() provider.Info
}

// Step is a point that was reached on the way of a root.
type Step string

// The steps, in order.
const (
	Generated Step = "generated"
	Wrapped   Step = "wrapped"
	Proved    Step = "proved"
)

// Wrapper wraps roots. KeyManager and Now are required.
type Wrapper struct {
	// KeyManager answers the provider of a name.
	KeyManager func(name string) (KeyManager, error)
	Now        func() time.Time
	// Reached, if set, is called at each step.
	Reached func(Step)
}

// Material is a root with its wraps, proved and not yet committed anywhere.
type Material struct {
	Binding keyring.Binding
	Root    keyring.Root
	KCV     keyring.KCV
	// Wraps are in the order of the providers.
	Wraps []keyring.Wrap
}

// Make wraps a root under each provider and proves each wrap. The zero Root has it
// drawn: by the first provider, where that can. The caller wipes the material's
// root; it is set even if Make fails.
func (w Wrapper) Make(ctx context.Context, b keyring.Binding, providers []string, root keyring.Root) (Material, error) {
	m := Material{Binding: b, Root: root}
	managers := make([]KeyManager, 0, len(providers))
	for _, name := range providers {
		km, err := w.KeyManager(name)
		if err != nil {
			return m, err
		}
		wrapped, err := m.wrap(ctx, km)
		if err != nil {
			return m, err
		}
		if len(managers) == 0 {
			w.reached(Generated)
		}
		managers = append(managers, km)
		m.Wraps = append(m.Wraps, keyring.Wrap{
			Provider: name, KEKID: wrapped.KEKID, KEKVersion: wrapped.KEKVersion,
			Blob: wrapped.Blob, Created: w.Now(),
		})
	}
	w.reached(Wrapped)
	for i, km := range managers {
		if err := Prove(ctx, km, b, m.Root, &m.Wraps[i]); err != nil {
			return m, err
		}
	}
	w.reached(Proved)
	var err error
	m.KCV, err = m.Root.KCV(b)
	return m, err
}

func (w Wrapper) reached(s Step) {
	if w.Reached != nil {
		w.Reached(s)
	}
}

// wrap wraps the root, having drawn it if there is none yet: in the key manager if
// it can do that, else here.
func (m *Material) wrap(ctx context.Context, km KeyManager) (provider.Wrapped, error) {
	if m.Root.Len() == 0 {
		if km.Info().Capabilities.Has(provider.CanGenerateDataKey) {
			return m.generate(ctx, km)
		}
		m.Root = keyring.GenerateRoot()
	}
	item := provider.WrapItem{Plaintext: m.Root.Bytes, AAD: m.Binding.WrapAAD()}
	results, err := km.Wrap(ctx, []provider.WrapItem{item})
	if err != nil {
		return provider.Wrapped{}, err
	}
	if len(results) != 1 {
		return provider.Wrapped{}, provider.Errorf(provider.Internal, "the provider answered %d results for 1 wrap", len(results))
	}
	return results[0].Wrapped, results[0].Err
}

func (m *Material) generate(ctx context.Context, km KeyManager) (provider.Wrapped, error) {
	answer, err := km.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{AAD: m.Binding.WrapAAD()})
	if err != nil {
		return provider.Wrapped{}, err
	}
	m.Root, err = keyring.NewRoot(answer.Plaintext.Reveal())
	return answer.Wrapped, err
}

// Prove opens a new wrap again, as a later process would, and compares. What cannot
// be read back is never used. It fills in a KEK version that was unknown until then.
func Prove(ctx context.Context, km provider.KeyManager, b keyring.Binding, root keyring.Root, w *keyring.Wrap) error {
	return prove(ctx, km, b, w, func(opened keyring.Root) error {
		if !opened.Equal(root.Bytes) {
			return fmt.Errorf("%w: provider %q opened another root than it had wrapped; it must not be used until that is explained", keyring.ErrIntegrity, w.Provider)
		}
		return nil
	})
}

// Verify is Prove for who holds the version's key check value and never saw the
// root: a key manager moved the wrap on its own.
func Verify(ctx context.Context, km provider.KeyManager, b keyring.Binding, kcv keyring.KCV, w *keyring.Wrap) error {
	return prove(ctx, km, b, w, func(opened keyring.Root) error {
		if err := opened.Verify(b, kcv); err != nil {
			return fmt.Errorf("provider %q: %w", w.Provider, err)
		}
		return nil
	})
}

func prove(ctx context.Context, km provider.KeyManager, b keyring.Binding, w *keyring.Wrap, compare func(keyring.Root) error) error {
	opened, kekVersion, err := Unwrap(ctx, km, b, *w)
	defer opened.Wipe()
	if err != nil {
		return fmt.Errorf("prove the wrap of provider %q: %w", w.Provider, err)
	}
	if err := compare(opened); err != nil {
		return err
	}
	switch {
	case kekVersion == "":
	case w.KEKVersion == "":
		w.KEKVersion = kekVersion
	case w.KEKVersion != kekVersion:
		return fmt.Errorf("%w: provider %q wrapped with version %q of its key and opened with version %q", keyring.ErrIntegrity, w.Provider, w.KEKVersion, kekVersion)
	}
	return nil
}

// Open opens a version's wrap and verifies the root against the key check value;
// keyring.ErrIntegrity if it is another one. The caller wipes the root.
func Open(ctx context.Context, km provider.KeyManager, b keyring.Binding, w keyring.Wrap, kcv keyring.KCV) (keyring.Root, error) {
	root, _, err := Unwrap(ctx, km, b, w)
	if err != nil {
		return keyring.Root{}, err
	}
	if err := root.Verify(b, kcv); err != nil {
		root.Wipe()
		return keyring.Root{}, fmt.Errorf("provider %q: %w", w.Provider, err)
	}
	return root, nil
}

// Unwrap opens one wrap and checks what the provider says of it, but not the root
// itself: [Open] does, or compare it.
func Unwrap(ctx context.Context, km provider.KeyManager, b keyring.Binding, w keyring.Wrap) (root keyring.Root, kekVersion string, err error) {
	item := provider.UnwrapItem{
		Wrapped: provider.Wrapped{KEKID: w.KEKID, KEKVersion: w.KEKVersion, Blob: w.Blob},
		AAD:     b.WrapAAD(),
	}
	results, err := km.Unwrap(ctx, []provider.UnwrapItem{item})
	defer func() {
		if err != nil { // whatever came with it is nobody's
			for _, r := range results {
				r.Plaintext.Wipe()
			}
		}
	}()
	if err != nil {
		return root, "", err
	}
	if len(results) != 1 {
		return root, "", provider.Errorf(provider.Internal, "the provider answered %d results for 1 unwrap", len(results))
	}
	answer := results[0]
	if answer.Err != nil {
		return root, "", answer.Err
	}
	if answer.KEKID != "" && answer.KEKID != w.KEKID {
		return root, "", fmt.Errorf("%w: provider %q opened a wrap of %q and says it used %q", keyring.ErrIntegrity, w.Provider, w.KEKID, answer.KEKID)
	}
	root, err = keyring.NewRoot(answer.Plaintext.Reveal())
	return root, answer.KEKVersion, err
}
