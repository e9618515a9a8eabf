package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

func mirrorCases() []testCase {
	needs := []provider.Capability{provider.CanMirror}
	return []testCase{
		{name: "mirror/empty", needs: needs, test: onMirror(testMirrorEmpty)},
		{name: "mirror/reads-back", needs: needs, test: onMirror(testMirrorReadsBack)},
		{name: "mirror/again", needs: needs, test: onMirror(testMirrorAgain)},
		{name: "mirror/advances", needs: needs, test: onMirror(testMirrorAdvances)},
		{name: "mirror/range", needs: needs, test: onMirror(testMirrorRange)},
		{name: "mirror/stores-apart", needs: needs, test: onMirror(testMirrorStoresApart)},
		{name: "mirror/conflict", needs: needs, excusable: true, test: onMirror(testMirrorConflict)},
	}
}

// mirror is one store's place in the mirror of a key.
type mirror struct {
	provider.Mirror
	store [16]byte
}

func onMirror(test func(context.Context, mirror) error) func(context.Context, *subject) error {
	return onKEK(func(ctx context.Context, k *kek) error {
		m, err := optional[provider.Mirror](k)
		if err != nil {
			return err
		}
		return test(ctx, mirror{m, [16]byte{1, 2, 3, 4, 5}})
	})
}

// mirrorRecord holds the events from one number to another and the head at the last.
// Times are whole seconds, for some mirrors have room for no more.
func mirrorRecord(store [16]byte, from, to uint64) provider.WriteMirrorRequest {
	at := func(seq uint64) time.Time { return time.Unix(1_800_000_000+int64(seq), 0).UTC() }
	req := provider.WriteMirrorRequest{
		StoreID: store, RequestID: fmt.Sprintf("record %d", to),
		Head: provider.MirrorHead{
			Seq: to, Root: [32]byte{byte(to), 1}, Time: at(to), EventType: "rotation",
			Signer: [4]byte{9, 8, 7, 6}, Signature: bytes.Repeat([]byte{byte(to), 2}, 32),
		},
	}
	for seq := from; seq <= to; seq++ {
		req.Events = append(req.Events, provider.MirrorEvent{
			Seq: seq, KeyID: [16]byte{byte(seq), 3}, Type: "rotation", Time: at(seq),
			Leaf: [32]byte{byte(seq), 4}, OperationID: fmt.Sprintf("operation-%d", seq),
		})
	}
	return req
}

// write writes a record and checks the head that is answered.
func (m mirror) write(ctx context.Context, req provider.WriteMirrorRequest) error {
	res, err := m.WriteMirror(ctx, req)
	if err != nil {
		return fmt.Errorf("WriteMirror of events up to %d: %w", req.Head.Seq, err)
	}
	if res.Head != nil && !reflect.DeepEqual(*res.Head, req.Head) {
		return fmt.Errorf("WriteMirror of the head %+v reads %+v back", req.Head, *res.Head)
	}
	return nil
}

// holds answers how the mirror differs from a record. One that cannot be read holds
// everything; one that keeps the newest events only holds those.
func (m mirror) holds(ctx context.Context, want provider.WriteMirrorRequest) error {
	const limit = 100
	got, err := m.ReadMirror(ctx, provider.ReadMirrorRequest{StoreID: want.StoreID, FromSeq: 1, Limit: limit})
	switch {
	case err != nil:
		return fmt.Errorf("ReadMirror: %w", err)
	case got.WriteOnly && (got.Head != nil || len(got.Events) > 0):
		return errors.New("a mirror that is write-only is read")
	case got.WriteOnly:
		return nil
	case got.Head == nil:
		return errors.New("ReadMirror answers no head")
	case !reflect.DeepEqual(*got.Head, want.Head):
		return fmt.Errorf("ReadMirror answers the head %+v, written was %+v", *got.Head, want.Head)
	case len(got.Events) == 0:
		return errors.New("ReadMirror answers no event")
	case got.Events[len(got.Events)-1].Seq != want.Head.Seq:
		return fmt.Errorf("ReadMirror ends with event %d, written were events up to %d", got.Events[len(got.Events)-1].Seq, want.Head.Seq)
	}
	return sameEvents(got.Events, want.Events)
}

// sameEvents compares the newest of the events that were written. A mirror may have
// no room for the rest of a field, or for the field; never for other contents.
func sameEvents(got, want []provider.MirrorEvent) error {
	if len(got) > len(want) {
		return fmt.Errorf("ReadMirror answers %d events, written were %d", len(got), len(want))
	}
	want = want[len(want)-len(got):]
	for i, w := range want {
		g := got[i]
		if g.Seq != w.Seq || g.Leaf != w.Leaf || g.Type != w.Type || !g.Time.Equal(w.Time) {
			return fmt.Errorf("ReadMirror answers the event %+v, written was %+v", g, w)
		}
	}
	return nil
}

func testMirrorEmpty(ctx context.Context, m mirror) error {
	got, err := m.ReadMirror(ctx, provider.ReadMirrorRequest{StoreID: m.store, FromSeq: 1, Limit: 10})
	if err != nil {
		return fmt.Errorf("ReadMirror: %w", err)
	}
	if got.Head != nil || len(got.Events) > 0 {
		return fmt.Errorf("a mirror that was never written holds %+v", got)
	}
	return nil
}

func testMirrorReadsBack(ctx context.Context, m mirror) error {
	record := mirrorRecord(m.store, 1, 3)
	if err := m.write(ctx, record); err != nil {
		return err
	}
	return m.holds(ctx, record)
}

// testMirrorAgain: a host that lost the answer writes again.
func testMirrorAgain(ctx context.Context, m mirror) error {
	record := mirrorRecord(m.store, 1, 3)
	for range 2 {
		if err := m.write(ctx, record); err != nil {
			return err
		}
	}
	return m.holds(ctx, record)
}

// testMirrorAdvances: the next record goes on where the last one ended.
func testMirrorAdvances(ctx context.Context, m mirror) error {
	for _, record := range []provider.WriteMirrorRequest{mirrorRecord(m.store, 1, 3), mirrorRecord(m.store, 4, 8)} {
		if err := m.write(ctx, record); err != nil {
			return err
		}
	}
	return m.holds(ctx, mirrorRecord(m.store, 1, 8))
}

func testMirrorRange(ctx context.Context, m mirror) error {
	if err := m.write(ctx, mirrorRecord(m.store, 1, 6)); err != nil {
		return err
	}
	got, err := m.ReadMirror(ctx, provider.ReadMirrorRequest{StoreID: m.store, FromSeq: 5, Limit: 1})
	if err != nil {
		return fmt.Errorf("ReadMirror: %w", err)
	}
	if got.WriteOnly {
		return nil
	}
	if len(got.Events) != 1 || got.Events[0].Seq != 5 {
		return fmt.Errorf("one event from number 5 on was asked for, ReadMirror answers %+v", got.Events)
	}
	return nil
}

// testMirrorStoresApart: several stores may share a key.
func testMirrorStoresApart(ctx context.Context, m mirror) error {
	other := mirror{m.Mirror, [16]byte{0xFF, 2, 3, 4, 5}}
	first, second := mirrorRecord(m.store, 1, 3), mirrorRecord(other.store, 1, 2)
	if err := m.write(ctx, first); err != nil {
		return err
	}
	if err := other.write(ctx, second); err != nil {
		return err
	}
	if err := m.holds(ctx, first); err != nil {
		return fmt.Errorf("after another store wrote: %w", err)
	}
	return other.holds(ctx, second)
}

// testMirrorConflict: another history in the same place is the sign that somebody
// changed one of them, and is not written over.
func testMirrorConflict(ctx context.Context, m mirror) error {
	record := mirrorRecord(m.store, 1, 3)
	if err := m.write(ctx, record); err != nil {
		return err
	}
	fork := mirrorRecord(m.store, 1, 3)
	fork.Head.Root[31] ^= 1
	fork.Events[2].Leaf[31] ^= 1
	_, err := m.WriteMirror(ctx, fork)
	if err := wantCode(err, provider.MirrorConflict, "WriteMirror of another history"); err != nil {
		return err
	}
	return m.holds(ctx, record)
}
