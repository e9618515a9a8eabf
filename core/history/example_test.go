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

// The newest events, without a store.
func ExampleRecent() {
	recent := history.NewRecent(2)
	for _, event := range []string{
		`{"schema":1,"seq":1,"type":"creation","key":"payments"}`,
		`{"schema":1,"seq":2,"type":"creation","key":"orders"}`,
		`{"schema":1,"seq":3,"type":"rotation","key":"payments"}`,
	} {
		if err := recent.Add([]byte(event)); err != nil {
			panic(err)
		}
	}
	page, err := recent.Events(history.Query{Key: "payments"})
	if err != nil {
		panic(err)
	}
	for _, event := range page.Events {
		fmt.Printf("%s\n", event)
	}
	// Output: {"schema":1,"seq":3,"type":"rotation","key":"payments"}
}

// Retention asks of each event, the oldest first, whether something is built upon it.
func ExampleKeeper() {
	wrapped := map[string]string{"kek_id.local": "kek/1", "kek_version.local": "1"}
	var keeper history.Keeper
	for _, e := range []history.Event{
		{Type: history.Creation, Version: 1, Details: wrapped}, // names its key-encryption key first
		{Type: history.Creation, Version: 2, Details: wrapped},
		{Type: history.Rotation, Version: 2},
		{Type: history.Destroyed, Version: 1}, // its receipt is written from it
	} {
		fmt.Println(e.Type, e.Version, keeper.Keeps(e))
	}
	// Output:
	// creation 1 true
	// creation 2 false
	// rotation 2 false
	// destroyed 1 true
}
