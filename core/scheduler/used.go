package scheduler

import (
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/store"
)

// marks are numbers of uses at which a policy of a key may say that it is due: all uses,
// and those without re-encryption. 0 is none.
type marks struct {
	total, encryptions uint64
}

// Used tells of uses of a key that were granted to this process, as an engine does: the
// key is looked at if they may make it due. A grant of nothing is a call for help: the
// version is at its hard limit. It answers whether a rotation of the key is under way
// here, or may begin with the look that is being taken. It does not block.
func (s *Scheduler) Used(key string, l store.Lease) (rotating bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return false
	}
	m, known := s.marks[key]
	if !known || l.Count == 0 || l.Uses >= m.total || m.encryptions > 0 && l.Uses-l.Reencrypted >= m.encryptions {
		s.wake(key)
	}
	return s.comes(key)
}

// mark notes what Used needs to know of a key.
func (s *Scheduler) mark(f store.Facts, policies []policy.Policy) {
	m := marks{total: f.HardLimit/2 + f.HardLimit%2}
	for _, p := range policies {
		counted, ok := p.(policy.Counted)
		if !ok {
			continue
		}
		if n := counted.MaxUses(); n > 0 && (m.encryptions == 0 || n < m.encryptions) {
			m.encryptions = n
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks[f.Name] = m
}
