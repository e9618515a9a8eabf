package history

import (
	"slices"
	"testing"
)

// TestTree: what Tree computes is what Append stores, at every size.
func TestTree(t *testing.T) {
	var log memory
	var tree Tree
	for size := range uint64(70) {
		if want := merkle(log.entries); tree.Root() != want || tree.Size() != size {
			t.Fatalf("root of %d events %v; want %v of %d", tree.Size(), tree.Root(), want, size)
		}
		log.append(t, Event{Type: Usage, Count: size})
		entry := log.entries[size]
		if got := tree.Append(entry.Bytes); !slices.Equal(got, entry.Hashes) {
			t.Errorf("event %d completes %v, want %v", size+1, got, entry.Hashes)
		}
	}
}
