package keyring

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// Ring is one key in memory: which versions there are, those that were opened,
// and the right to encrypt a number of times under the primary, for each purpose.
// Readers take no lock; changes are made by one caller at a time, who sees to that.
type Ring struct {
	view    atomic.Pointer[view]
	sealers [purposes]atomic.Pointer[Sealer]
}

// view is one record as of a moment. It is not changed once it is in place, but
// for the ciphers.
type view struct {
	record *Record
	access []access // beside record.Versions
	slots  []slot   // beside them, too; later views share these, and have more
}

// access is what a record allows of a version.
type access struct {
	readable bool
	// quiet is false for a version whose use somebody is to hear of.
	quiet bool
}

type slot struct {
	number uint32
	cipher *atomic.Pointer[Cipher]
}

// NewRing holds a record, with no version opened. The record belongs to the ring
// from here on.
func NewRing(r *Record) *Ring {
	ring := new(Ring)
	ring.Update(r)
	return ring
}

// Update puts a newer record of the same key in place. Opened versions stay open
// as far as their states allow; sealers go if their version is no longer the primary.
func (r *Ring) Update(rec *Record) {
	next := &view{record: rec, access: make([]access, len(rec.Versions))}
	var slots []slot
	if old := r.view.Load(); old != nil {
		slots = old.slots
	}
	for i := range rec.Versions {
		v := &rec.Versions[i]
		if i >= len(slots) || slots[i].number != v.Number {
			slots = replaceFrom(slots, i, v.Number)
		}
		next.access[i] = access{readable: rec.readable(v), quiet: v.State != Compromised}
	}
	if len(slots) > len(rec.Versions) {
		slots = slices.Clip(slots[:len(rec.Versions)])
	}
	next.slots = slots
	r.view.Store(next)
	// Afterwards: a SetCipher that still saw the former view has put its cipher there by
	// now, and a later one takes it out itself.
	for i, a := range next.access {
		if !a.readable {
			slots[i].cipher.Store(nil)
		}
	}
	for p := range r.sealers {
		if s := r.sealers[p].Load(); s != nil && s.cipher.number != rec.Primary {
			r.sealers[p].CompareAndSwap(s, nil)
		}
	}
}

// replaceFrom puts a new version at place i, in place of whatever is there and
// behind. Versions are only ever appended, and so are slots: in general a new
// version takes no copy of all others.
func replaceFrom(slots []slot, i int, number uint32) []slot {
	if i < len(slots) {
		slots = slices.Clip(slots[:i]) // the former view keeps what follows
	}
	return append(slots, slot{number, new(atomic.Pointer[Cipher])})
}

// Record answers the record as last put in place; it must not be changed.
func (r *Ring) Record() *Record { return r.view.Load().record }

// Opened answers the cipher of a version that may decrypt, if it stands ready and is
// not compromised: the hot path. Opener does the same for every version, and tells
// why there is none.
func (r *Ring) Opened(number uint32) *Cipher {
	v := r.view.Load()
	if i := int(number) - 1; i >= 0 && i < len(v.slots) && v.slots[i].number == number && v.access[i] == (access{true, true}) {
		return v.slots[i].cipher.Load()
	}
	return nil
}

// Opener answers the cipher of a version that may decrypt; nil if the version has
// not been opened yet. Errors are ErrUnknownVersion and ErrState.
func (r *Ring) Opener(number uint32) (*Cipher, error) {
	v := r.view.Load()
	i := v.record.index(number)
	if i < 0 || !v.access[i].readable {
		return nil, v.record.CheckDecrypt(number)
	}
	return v.slots[i].cipher.Load(), nil
}

// SetCipher keeps the cipher of an opened version, unless the version may not
// decrypt, even if that changed at this moment. Errors are those of Opener.
func (r *Ring) SetCipher(c *Cipher) error {
	v := r.view.Load()
	i := v.record.index(c.number)
	if i < 0 {
		return fmt.Errorf("%w: key %q has no version %d", ErrUnknownVersion, v.record.Name, c.number)
	}
	v.slots[i].cipher.Store(c)
	if _, err := r.Opener(c.number); err != nil {
		v.slots[i].cipher.Store(nil)
		return err
	}
	return nil
}

// DropCipher closes a version. The right to encrypt with it goes, too.
func (r *Ring) DropCipher(number uint32) {
	v := r.view.Load()
	if i := v.record.index(number); i >= 0 {
		v.slots[i].cipher.Store(nil)
	}
	for p := range r.sealers {
		if s := r.sealers[p].Load(); s != nil && s.cipher.number == number {
			r.sealers[p].CompareAndSwap(s, nil)
		}
	}
}

// Sealer answers the right to encrypt under the primary; nil if there is none now.
func (r *Ring) Sealer(p Purpose) *Sealer { return r.sealers[p].Load() }

// SetSealer replaces the right to encrypt; nil takes it away. A sealer is not kept if
// its version is not the primary, or not open, even if it stopped being that at this
// moment.
func (r *Ring) SetSealer(p Purpose, s *Sealer) {
	r.sealers[p].Store(s)
	if s == nil {
		return
	}
	v := r.view.Load()
	i := v.record.index(s.cipher.number)
	if s.cipher.number != v.record.Primary || i < 0 || v.slots[i].cipher.Load() == nil {
		r.sealers[p].CompareAndSwap(s, nil)
	}
}

// DropSealers takes the right to encrypt away, for every purpose.
func (r *Ring) DropSealers() {
	for p := range r.sealers {
		r.sealers[p].Store(nil)
	}
}
