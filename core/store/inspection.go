package store

import (
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
)

// What somebody gets to see who looks at a store instead of working with it.

// LogEntry is an event as it lies in the store: its bytes, and what was written
// beside them, which may have been changed since.
type LogEntry struct {
	Seq uint64
	// Bytes are nil where there are none: retention may have taken them.
	Bytes []byte
	// Columns are what queries find the event by: its Key, Version, Type, Reason,
	// Actor and Time.
	Columns history.Event
	// Hashes are the tree's leaf of the event, and each subtree that it completed.
	Hashes []tlog.Hash
}

// LeaseSum sums leases up.
type LeaseSum struct {
	Leases int
	Uses   uint64
	// Oldest is when the first of them expired or will; zero if there is none.
	Oldest time.Time
}

// OutboxSum sums up what is to be delivered and is in one state.
type OutboxSum struct {
	State string
	Rows  int
	// Oldest is when the first of them was put there.
	Oldest time.Time
	// LastError is the newest of theirs; empty if none of them failed yet.
	LastError string
}
