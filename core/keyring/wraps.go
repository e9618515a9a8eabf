package keyring

import (
	"slices"
	"strings"
)

// Wrap answers the version's wrap by a provider.
func (v *Version) Wrap(provider string) (*Wrap, bool) {
	i, ok := v.wrapIndex(provider)
	if !ok {
		return nil, false
	}
	return &v.Wraps[i], true
}

// PutWrap adds a wrap, in place of the one by the same provider if there is one.
func (v *Version) PutWrap(w Wrap) {
	i, ok := v.wrapIndex(w.Provider)
	if ok {
		v.Wraps[i] = w
		return
	}
	v.Wraps = slices.Insert(v.Wraps, i, w)
}

// DropWrap takes the wrap by a provider away, and reports whether there was one.
func (v *Version) DropWrap(provider string) bool {
	i, ok := v.wrapIndex(provider)
	if ok {
		v.Wraps = slices.Delete(v.Wraps, i, i+1)
	}
	return ok
}

// wrapIndex is the place of a provider's wrap, or that where it belongs.
func (v *Version) wrapIndex(provider string) (int, bool) {
	return slices.BinarySearchFunc(v.Wraps, provider, func(w Wrap, name string) int {
		return strings.Compare(w.Provider, name)
	})
}
