package keyring

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
)

// Digest is SHA-256 over a key record. Each event of a key carries the digest of
// the record after it, which makes the table as tamper-evident as the history.
type Digest struct {
	encoding int
	sum      [sha256.Size]byte
}

// String is the form that events carry: the encoding that was hashed, and the hash.
func (d Digest) String() string { return fmt.Sprintf("v%d:%x", d.encoding, d.sum) }

// lastEncoding is the newest that this build knows.
const lastEncoding = 2

// Verify compares the record with the digest that its newest event carries.
// ErrIntegrity if they differ; ErrNewer if the digest is of an encoding that this
// build does not know, which is no sign of tampering.
func (r *Record) Verify(store StoreID, digest string) error {
	var encoding int
	if _, err := fmt.Sscanf(digest, "v%d:", &encoding); err != nil || encoding < 1 || encoding > lastEncoding {
		return fmt.Errorf("%w: the digest of key %q is %.40q; use a newer build", ErrNewer, r.Name, digest)
	}
	if got := r.Digest(store).String(); got != digest {
		return fmt.Errorf("%w: the stored record of key %q has digest %s, and its newest event says %s: restore a backup, or find out who changed the database",
			ErrIntegrity, r.Name, got, digest)
	}
	return nil
}

// recordDomain separates this digest from every other use of SHA-256.
const recordDomain = "keyrotor/key-record/v"

// Digest covers everything in the record and the store that it lives in. The
// encodings are final: each string and byte string is preceded by its length
// (u32), each list by its count (u32), numbers are big-endian, and times are
// microseconds since 1970 (i64, 0 if zero).
//
// A record gets the first encoding that covers it, so that its digest is the same
// in every build that knows that one. Encoding 2 adds the settings that 1 lacks,
// and is there for records in which one of them is not at its default.
func (r *Record) Digest(store StoreID) Digest {
	encoding := 1
	if r.Settings.BlockReads {
		encoding = 2
	}
	e := encoder{buf: make([]byte, 0, 256+256*len(r.Versions))}
	e.str(recordDomain + strconv.Itoa(encoding))
	e.buf = append(e.buf, store[:]...)
	e.buf = append(e.buf, r.ID[:]...)
	e.str(r.Name)
	e.time(r.Created)
	e.settings(encoding, r.Settings)
	e.u32(r.Primary)
	e.u32(uint32(len(r.Versions)))
	for i := range r.Versions {
		e.version(&r.Versions[i])
	}
	return Digest{encoding, sha256.Sum256(e.buf)}
}

type encoder struct{ buf []byte }

func (e *encoder) settings(encoding int, s Settings) {
	e.str(string(s.Algorithm))
	e.u32(s.MinDecryptVersion)
	e.u64(s.HardLimit)
	e.u32(uint32(len(s.WrapWith)))
	for _, p := range s.WrapWith {
		e.str(p)
	}
	if encoding >= 2 {
		blockReads := uint32(0)
		if s.BlockReads {
			blockReads = 1
		}
		e.u32(blockReads)
	}
}

func (e *encoder) version(v *Version) {
	e.u32(v.Number)
	e.str(v.Label)
	e.str(string(v.State))
	e.str(string(v.Algorithm))
	e.time(v.Created)
	e.time(v.Activated)
	e.time(v.StateChanged)
	e.str(string(v.Reason))
	e.buf = append(e.buf, v.KCV[:]...)
	e.u32(uint32(len(v.Wraps)))
	for _, w := range v.Wraps {
		e.str(w.Provider)
		e.str(w.KEKID)
		e.str(w.KEKVersion)
		e.u32(uint32(len(w.Blob)))
		e.buf = append(e.buf, w.Blob...)
		e.time(w.Created)
	}
}

func (e *encoder) u32(n uint32) { e.buf = binary.BigEndian.AppendUint32(e.buf, n) }
func (e *encoder) u64(n uint64) { e.buf = binary.BigEndian.AppendUint64(e.buf, n) }

func (e *encoder) str(s string) {
	e.u32(uint32(len(s)))
	e.buf = append(e.buf, s...)
}

func (e *encoder) time(t time.Time) {
	if t.IsZero() {
		e.u64(0)
		return
	}
	e.u64(uint64(t.UnixMicro()))
}
