package rewrap

import (
	"context"

	"github.com/keyrotor/keyrotor/core/store"
)

// DescribeKEK asks a provider about its KEK, and counts what stands under it. It
// changes nothing.
func (m *Mover) DescribeKEK(ctx context.Context, name string) (KEK, error) {
	km, err := m.KeyManager(name)
	if err != nil {
		return KEK{}, err
	}
	d, err := km.DescribeKey(ctx)
	if err != nil {
		return KEK{}, err
	}
	_, known, err := m.lineage(ctx, d.KEKID, d.PrimaryVersion)
	if err != nil {
		return KEK{}, err
	}
	kek := KEK{
		Provider: name, KEKID: d.KEKID, State: d.State, Algorithm: d.Algorithm,
		Primary: d.PrimaryVersion, RotatedExternally: !known, Versions: []KEKVersion{},
	}
	place := make(map[string]int)
	for i, v := range d.Versions {
		place[v.Version] = i
		kek.Versions = append(kek.Versions, KEKVersion{
			Version: v.Version, State: v.State, Created: v.Created, Primary: v.Version == d.PrimaryVersion,
		})
	}
	err = m.each(ctx, func(key store.Key) {
		for i := range key.Versions {
			w, ok := key.Versions[i].Wrap(name)
			if !ok {
				continue
			}
			if at, listed := place[w.KEKVersion]; listed && w.KEKID == d.KEKID {
				kek.Versions[at].Wraps++
			} else {
				kek.Elsewhere++
			}
		}
	})
	return kek, err
}
