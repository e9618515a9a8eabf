package engine

import (
	"context"
	"errors"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// watch looks at who asks for a version's cipher, and answers err with what is to be
// said beside it. The use of a compromised version raises an alarm, once a process;
// an attempt at a quarantined one is counted. Both kinds of version are off the hot
// path.
func (e *Engine) watch(ctx context.Context, k *key, number uint32, err error) error {
	v, ok := k.ring.Record().Version(number)
	switch {
	case !ok:
	case v.State == keyring.Compromised && err == nil:
		if _, before := k.alarmed.LoadOrStore(number, true); !before {
			e.log.Warn("a compromised version is in use: re-encrypt what it protects, or block reads of it",
				"key", k.name, "version", number)
		}
	case v.State == keyring.Quarantined && errors.Is(err, keyring.ErrState):
		return errors.Join(err, e.attempted(ctx, k, v))
	}
	return err
}
