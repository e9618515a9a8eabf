package notify

import "time"

// Report is what one pass of [Notifier.Deliver] did.
type Report struct {
	Targets []TargetReport `json:"targets"`
}

// TargetReport is the part of one target.
type TargetReport struct {
	Target string `json:"target"`
	// Delivered, Failed and GivenUp count messages; those that failed are tried again.
	Delivered int `json:"delivered"`
	Failed    int `json:"failed"`
	GivenUp   int `json:"given_up"`
	// Open is what is left to deliver.
	Open int `json:"open"`
	// HeldBy is the process that delivers to the target now; then nothing was done here.
	HeldBy string `json:"held_by,omitempty"`
	// Error is why the last message that failed did.
	Error string `json:"error,omitempty"`
}

// Status is how it stands with one target.
type Status struct {
	Target string   `json:"target"`
	Types  []Type   `json:"types,omitempty"`
	Keys   []string `json:"keys,omitempty"`
	// Subscribed: the store knows it.
	Subscribed bool `json:"subscribed"`
	// Owner is the process that delivers, until Expires; it is empty if nobody does.
	Owner   string    `json:"owner,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	// Behind counts events and notices that nobody has looked through for it yet.
	Behind uint64 `json:"behind"`
	// Open messages are not delivered, Failing of them after a try, the oldest since
	// Oldest; GivenUp ones will not be, and are shown for 30 days.
	Open      int       `json:"open"`
	Failing   int       `json:"failing"`
	GivenUp   int       `json:"given_up"`
	Oldest    time.Time `json:"oldest,omitzero"`
	LastError string    `json:"last_error,omitempty"`
}
