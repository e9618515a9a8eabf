// Package cli is the command tree of keyrotor. A command here reads its flags,
// calls the core, and shows the answer; what is done to keys is decided in core.
//
// The rules that hold for every command: standard output carries the answer
// alone; a secret is never an argument; what cannot be done is said with what to
// do next; and the exit status is one of those that `keyrotor help exit-codes`
// lists.
package cli

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/cmd/keyrotor/internal/console"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/secret"
)

// Main runs the command line of this process and answers its exit status.
func Main(version string) int {
	ctx, stop := withSignals(context.Background())
	defer stop()
	a := &app{
		Console: console.New(os.Stdin, os.Stdout, os.Stderr, os.Getenv),
		version: version,
		getenv:  os.Getenv,
		log:     slog.New(slog.DiscardHandler),
		end:     func() {},
	}
	return a.run(ctx, os.Args[1:])
}

// app is one run of the command line.
type app struct {
	*console.Console
	version string
	getenv  func(string) string
	global  globalFlags
	log     *slog.Logger
	// end lets go of what prepare made.
	end func()
	// counting: a bar shows where the work has got to.
	counting bool
	// reattach are the plugins that a developer runs.
	reattach catalog.Reattach
	// misused is an unknown command that was found while asked for its help.
	misused error
}

// globalFlags are the flags that every command has.
type globalFlags struct {
	config   string
	output   choice
	logLevel choice
	timeout  time.Duration
	// devReattach lets plugins be replaced by those that a developer runs.
	devReattach bool
}

func (a *app) run(ctx context.Context, args []string) int {
	// A command line that cannot be parsed is refused in the form that it asks for.
	a.JSON = asksForJSON(args)
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	cmd, err := root.ExecuteContextC(ctx)
	defer a.end()
	if err == nil {
		err = a.misused
	}
	if err == nil {
		return exitDone
	}
	return a.fail(describe(cmd.Context(), err))
}

// prepare is what happens before every command.
func (a *app) prepare(cmd *cobra.Command, _ []string) error {
	a.JSON = a.global.output.value == outputJSON
	if level, ok := logLevels()[a.global.logLevel.value]; ok {
		a.log = a.Logger(level)
	}
	if err := secret.ForbidDumps(); err != nil {
		a.log.Warn("the process stays open to core dumps and debuggers", "error", err)
	}
	if err := a.readReattach(cmd); err != nil {
		return err
	}
	if d := a.global.timeout; d < 0 {
		return misuse(cmd, "--timeout is negative")
	} else if d > 0 {
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), d, timeoutError{d})
		a.end = cancel
		cmd.SetContext(ctx)
	}
	return nil
}

func (a *app) fail(f failure) int {
	if a.JSON {
		a.Complain(map[string]failure{"error": f})
	} else {
		a.Fail(f.text())
	}
	return f.ExitCode
}
