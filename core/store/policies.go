package store

import (
	"context"
	"time"
)

// Policies keeps what rotation by policy needs to know and to remember.
type Policies interface {
	Slots
	// Facts answers what policies may know, of all keys in the order of their names,
	// or of those that are named and exist.
	Facts(ctx context.Context, names ...string) ([]Facts, error)
	// Checks answers the newest check of each policy, of all keys or of those that are
	// named, in the order of keys and policies.
	Checks(ctx context.Context, names ...string) ([]PolicyCheck, error)
	// Failing answers those of them whose last rotation failed.
	Failing(ctx context.Context, names ...string) ([]PolicyCheck, error)
	// RecordChecks replaces what is known of policies, failures aside, and of the
	// scheduler that checked them. A policy of a key that does not exist is passed over.
	RecordChecks(ctx context.Context, s SchedulerCheck, checks []PolicyCheck) error
	// RecordFailure counts a rotation that failed, until the key gets a new version for
	// whatever reason, and says when the next one may be tried.
	RecordFailure(ctx context.Context, key, policy, code string, retry time.Time) error
	// Schedulers lists the processes that check policies, in the order of their owners.
	Schedulers(ctx context.Context) ([]SchedulerCheck, error)
	// RemoveScheduler forgets one that stopped.
	RemoveScheduler(ctx context.Context, owner string) error
}

// Slots tells which occasions were served; [Update] books them.
type Slots interface {
	// Done reports whether a key was rotated on an occasion.
	Done(ctx context.Context, key string, due DueSlot) (bool, error)
}

// Facts are what a policy may know of a key.
type Facts struct {
	Name    string
	Created time.Time
	// Version is the primary, 0 if the key has none; what follows is about it.
	Version uint32
	// Rotated is when it was made, Activated when it last became the primary.
	Rotated, Activated time.Time
	// Uses and Reencrypted count as in [Key].
	Uses, Reencrypted uint64
	HardLimit         uint64
	WrapWith          []string
}

// DueSlot is the occasion on which a policy has a key rotated.
type DueSlot struct {
	// Policy is unique among those of the key.
	Policy string
	// Slot is unique among the occasions of the policy.
	Slot string
}

// PolicyCheck is what the newest check of a policy came to.
type PolicyCheck struct {
	Key, Policy string
	Checked     time.Time
	Due         bool
	Slot        string
	// Next is zero if it is unknown.
	Next time.Time
	Why  string
	// Failures counts the rotations that failed since the last one that did not;
	// ErrorCode is the last one's, and before Retry none is tried.
	Failures  int
	Retry     time.Time
	ErrorCode string
}

// SchedulerCheck is a process that checks policies, and its newest check.
type SchedulerCheck struct {
	// Owner is the process, as in an [Intent].
	Owner    string
	Started  time.Time
	Interval time.Duration
	Checked  time.Time
	// Keys were looked at, and Due of them were to be rotated.
	Keys, Due int
}
