package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/provider"
)

// The exit statuses. That of a command that a signal ended is 128 and the
// signal's number.
const (
	exitDone   = 0
	exitError  = 1
	exitUsage  = 2
	exitPartly = 3
	exitSignal = 128
)

// failure is how a command that failed says so, as JSON or as text.
type failure struct {
	// Code is one of those that `keyrotor help error-codes` lists.
	Code     string `json:"code"`
	Message  string `json:"message"`
	ExitCode int    `json:"exit_code"`
	// See is the command that helps further.
	See string `json:"see,omitempty"`
	// RetryAfter is in seconds.
	RetryAfter float64 `json:"retry_after,omitempty"`
	// Problems are those of the config.
	Problems []config.Problem `json:"problems,omitempty"`
	// Reasons are why a destruction is refused.
	Reasons []destruction.Reason `json:"reasons,omitempty"`
}

// text is the failure for people. Lines after the first are indented.
func (f failure) text() string {
	s := strings.ReplaceAll(strings.TrimSpace(f.Message), "\n", "\n  ")
	if f.See != "" {
		s += fmt.Sprintf("; see '%s'", f.See)
	}
	return s
}

// usageError is a command line that makes no sense.
type usageError struct {
	path    string
	message string
}

func (e *usageError) Error() string { return e.message }

// misuse answers a usageError that leads to the command's help.
func misuse(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{path: cmd.CommandPath(), message: fmt.Sprintf(format, args...)}
}

func unknownCommand(cmd *cobra.Command, name string) error {
	message := fmt.Sprintf("unknown command %q", name)
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		message += fmt.Sprintf("; did you mean '%s'?", strings.Join(near, "' or '"))
	}
	return misuse(cmd, "%s", message)
}

// partlyError means that some of the work was done, and some was not. What was
// not has been listed already.
type partlyError struct{ message string }

func (e *partlyError) Error() string { return e.message }

// signalError is why the context of a command ended that a signal stopped.
type signalError struct{ signal syscall.Signal }

func (e signalError) Error() string { return "stopped by signal: " + e.signal.String() }

// timeoutError is why the context of a command ended that took too long.
type timeoutError struct{ d time.Duration }

func (e timeoutError) Error() string {
	return fmt.Sprintf("not done within %s, the limit that --timeout sets", e.d)
}

// withSignals answers a context that ends with the first signal that asks the
// process to. The second one ends the process as ever.
func withSignals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			if number, ok := s.(syscall.Signal); ok {
				cancel(signalError{number})
			}
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// describe turns the error of a command into what is said about it.
func describe(ctx context.Context, err error) failure {
	var (
		usage    *usageError
		partly   *partlyError
		stopped  signalError
		late     timeoutError
		provided *provider.Error
		refused  *destruction.RefusedError
	)
	f := failure{Code: codeOf(err), Message: err.Error(), ExitCode: exitError}
	switch cause := context.Cause(ctx); {
	case errors.As(err, &usage):
		f.Code, f.ExitCode, f.See = codeUsage, exitUsage, usage.path+" --help"
	case errors.Is(err, errNoConfig):
		f.ExitCode = exitUsage
	case errors.As(cause, &stopped):
		f.Code, f.Message, f.ExitCode = codeInterrupted, stopped.Error(), exitSignal+int(stopped.signal)
	case errors.As(err, &partly): // the time may be up, too
		f.ExitCode = exitPartly
	case errors.As(cause, &late):
		f.Code, f.Message = codeTimeout, late.Error()
		if text := err.Error(); text != late.Error() && text != context.DeadlineExceeded.Error() {
			f.Message += ": " + text
		}
	case errors.As(err, &refused):
		f.Reasons = refused.Reasons
	case errors.As(err, &provided):
		f.RetryAfter = provided.RetryAfter.Seconds()
	}
	if f.Problems = problems(err); len(f.Problems) > 0 {
		f.Message = "the config is not valid:\n" + f.Message
	}
	return f
}

// problems collects what is wrong in the config from everywhere in an error's tree.
func problems(err error) []config.Problem {
	//nolint:errorlint // errors.As stops at the first, and this is about all
	switch e := err.(type) {
	case *config.Error:
		return e.Problems
	case interface{ Unwrap() []error }:
		var all []config.Problem
		for _, inner := range e.Unwrap() {
			all = append(all, problems(inner)...)
		}
		return all
	case interface{ Unwrap() error }:
		return problems(e.Unwrap())
	default:
		return nil
	}
}
