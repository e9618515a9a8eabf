// Command bench measures the hot path beside references in the same run, and
// prints each figure with its bar. Speeds are ratios: a machine that is slow or
// busy slows both sides.
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
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
)

// row is one figure: ours against a reference.
type row struct {
	name string
	// bar is what the ratio ours/reference must keep to: at most, or for least at least.
	bar    float64
	least  bool
	allocs int64 // what ours may allocate at most; -1 is not looked at
	ours   func(b *testing.B)
	ref    func(b *testing.B)
}

// result is what the rounds of a row came to.
type result struct {
	row
	ours, ref int64 // ns/op, medians
	ratio     float64
	min, max  float64
	allocs    int64
}

func (r result) ok() bool {
	if r.row.allocs >= 0 && r.allocs > r.row.allocs {
		return false
	}
	if r.least {
		return r.ratio >= r.bar
	}
	return r.ratio <= r.bar
}

func main() {
	testing.Init()
	rounds := flag.Int("rounds", 7, "how often each pair is measured; the figure is the median of the pairs")
	benchtime := flag.String("benchtime", "200ms", "how long one measurement takes")
	only := flag.String("only", "", "measure only the rows whose name contains this")
	strict := flag.Bool("strict", false, "exit 1 if a bar is missed")
	flag.Parse()
	if err := flag.Set("test.benchtime", *benchtime); err != nil {
		fail(err)
	}
	rows, closeAll, err := newRows(context.Background())
	if err != nil {
		fail(err)
	}
	var results []result
	for _, r := range rows {
		if !strings.Contains(r.name, *only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring: %s\n", r.name)
		results = append(results, measure(r, *rounds))
	}
	if err := closeAll(); err != nil {
		fail(err)
	}
	missed := report(results)
	if missed > 0 && *strict {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// measure alternates between the two sides, so that what disturbs the machine for
// a while disturbs both.
func measure(r row, rounds int) result {
	out := result{row: r}
	var ours, refs []int64
	var ratios []float64
	for range rounds {
		ref := testing.Benchmark(r.ref)
		our := testing.Benchmark(r.ours)
		if ref.N == 0 || our.N == 0 {
			fail(errors.New("a benchmark of this row failed: " + r.name))
		}
		ours, refs = append(ours, our.NsPerOp()), append(refs, ref.NsPerOp())
		a, b := float64(our.T)/float64(our.N), float64(ref.T)/float64(ref.N)
		if r.least {
			a, b = b, a // throughput, not time
		}
		ratios = append(ratios, a/b)
		out.allocs = our.AllocsPerOp()
	}
	out.ours, out.ref, out.ratio = median(ours), median(refs), median(ratios)
	out.min, out.max = slices.Min(ratios), slices.Max(ratios)
	return out
}

func median[T int64 | float64](x []T) T {
	slices.Sort(x)
	return x[len(x)/2]
}

// report writes the table and answers how many bars were missed.
func report(results []result) (missed int) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "what\tours ns/op\treference ns/op\tratio\t(min – max)\tbar\tallocs\t")
	for _, r := range results {
		sign, mark := "≤", "ok"
		if r.least {
			sign = "≥"
		}
		if !r.ok() {
			mark = "MISSED"
			missed++
		}
		allocs := strconv.FormatInt(r.allocs, 10)
		if r.row.allocs >= 0 {
			allocs += "/" + strconv.FormatInt(r.row.allocs, 10)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%.2f\t(%.2f – %.2f)\t%s %.2f\t%s\t%s\n",
			r.name, r.ours, r.ref, r.ratio, r.min, r.max, sign, r.bar, allocs, mark)
	}
	if err := w.Flush(); err != nil {
		fail(err)
	}
	return missed
}
