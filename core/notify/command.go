package notify

// CommandConfig is what to run.
type CommandConfig struct {
	// Argv is the program, by its absolute path, and its arguments. There is no shell.
	Argv []string
	// Environment names variables of this process that it gets besides PATH, HOME and
	// LANG.
	Environment []string
}

// NewCommand makes a sender that runs a program for each message.
func NewCommand(c CommandConfig) (Sender, error) { return nil, nil }
