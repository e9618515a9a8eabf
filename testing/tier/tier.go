// Package tier says how much of the tests is run. Most tests are of the usual tier, which
// `go test ./...` runs: what each package does, and at least one real case of each kind from
// end to end. The exhaustive tier adds the many processes: kills at more moments, longer
// random sequences, the scripts that try each refusal of a command, and commands in both
// forms of answers. It has the build tag "exhaustive", and scripts/test runs it.
//
// Whole tests and files carry the tag. What only differs by a count asks [Pick].
package tier

// Pick answers how much a test does, by the tier that is run.
func Pick[T any](usual, exhaustive T) T {
	if Exhaustive {
		return exhaustive
	}
	return usual
}
