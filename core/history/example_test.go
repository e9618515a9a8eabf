package history_test

import (
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
)

// A log keeps the bytes of each event, and the hashes that Append answers.
func ExampleAppend() {
	var events [][]byte
	var hashes []tlog.Hash
	stored := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			found[i] = hashes[index]
		}
		return found, nil
	})

	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, typ := range []history.Type{history.Creation, history.Rotation} {
		entry, err := history.Append(uint64(len(events)), history.Event{Type: typ, Time: at, Actor: "alice@host", Key: "payments"}, stored)
		if err != nil {
			panic(err)
		}
		events, hashes = append(events, entry.Bytes), append(hashes, entry.Hashes...)
	}
	root, err := history.Root(uint64(len(events)), stored)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", events[1])
	fmt.Println(len(hashes), "hashes, root", root)
	// Output:
	// {"schema":1,"seq":2,"type":"rotation","time":"2026-03-01T12:00:00Z","actor":"alice@host","operation_id":"","key":"payments"}
	// 3 hashes, root DCl+sIEG9lUnjiMhNSS61G4ON3WSnFGVmGne+6I3IXc=
}

// A tree that is made anew tells whether the one that is stored belongs to the events.
func ExampleTree() {
	var tree history.Tree
	for _, event := range []string{`{"schema":1,"seq":1}`, `{"schema":1,"seq":2}`, `{"schema":1,"seq":3}`} {
		fmt.Print(len(tree.Append([]byte(event))), " ")
	}
	fmt.Println(tree.Size(), tree.Root())
	// Output: 1 2 1 3 PELZNvf3fr/Ebv9rOaeZ34BCImZwl8WhMYL4PvfBDfk=
}
