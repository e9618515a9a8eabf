package notify

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
