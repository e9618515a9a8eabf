// Command bench measures what Keyrotor is held to and prints each figure with its
// bar. Where it can it measures a reference in turn with it and judges the ratio: a
// machine that is slow or busy slows both sides.
//
// "The limit" is Go's own AES-256-GCM with random nonces on the same bytes, into a
// reused buffer.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	rounds := flag.Int("rounds", 7, "how often each row is measured; the figure is the median")
	benchtime := flag.Duration("benchtime", 200*time.Millisecond, "how long one side of a row is measured in a round")
	only := flag.String("only", "", "measure only the rows whose name contains this")
	strict := flag.Bool("strict", false, "exit 1 if a bar is missed")
	flag.Parse()
	if *rounds < 1 {
		return errors.New("-rounds is at least 1")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	lab, err := newLab(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.close()) }()
	var results []result
	for _, r := range lab.rows() {
		if !strings.Contains(r.name, *only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring: %s\n", r.name)
		res, err := r.take(ctx, *rounds, *benchtime)
		if err != nil {
			return err
		}
		results = append(results, res)
	}
	missed, err := report(os.Stdout, results)
	if err == nil && missed > 0 && *strict {
		err = fmt.Errorf("%d of %d bars are missed", missed, len(results))
	}
	return err
}

// rows are all that is measured, in the order of the table.
func (l *lab) rows() []row {
	return slices.Concat(l.cipherRows(), l.scalingRows(), l.valueRows(), l.keyRows(), l.storeRows(), l.policyRows(), l.pluginRows(), l.memoryRows())
}
