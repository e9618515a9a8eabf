package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"
)

// unit is what a figure is counted in.
type unit string

const (
	nanoseconds unit = "ns"
	megabytes   unit = "MB"
	calls       unit = "calls"
)

// show writes a figure with its unit; times in the unit that suits them.
func (u unit) show(x float64) string {
	if u != nanoseconds {
		return number(x) + " " + string(u)
	}
	names := []string{"ns", "µs", "ms", "s"}
	for x >= 1000 && len(names) > 1 {
		x, names = x/1000, names[1:]
	}
	return number(x) + " " + names[0]
}

// number keeps three digits that count, and no more than two after the point.
func number(x float64) string {
	decimals := 2
	if x != 0 {
		decimals = min(max(2-int(math.Floor(math.Log10(math.Abs(x)))), 0), 2)
	}
	if x == math.Trunc(x) {
		decimals = 0
	}
	return strconv.FormatFloat(x, 'f', decimals, 64)
}

// report writes the table and answers how many bars were missed.
func report(out io.Writer, results []result) (missed int, err error) {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "what\tours\treference\tratio\t(min – max)\tbar\tallocs\t")
	for _, r := range results {
		mark := "ok"
		switch {
		case r.bar == noBar():
			mark = ""
		case !r.ok():
			mark = "MISSED"
			missed++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.name, r.unit.show(r.figure), r.columns(), r.barColumn(), r.allocColumn(), mark)
	}
	return missed, w.Flush()
}

// columns are reference, ratio and spread; a row without a reference has the
// spread of its figure.
func (r result) columns() string {
	if r.ref == 0 {
		return fmt.Sprintf("–\t–\t(%s – %s)", r.unit.show(r.min), r.unit.show(r.max))
	}
	return fmt.Sprintf("%s\t%.2f\t(%.2f – %.2f)", r.unit.show(r.ref), r.value, r.min, r.max)
}

func (r result) barColumn() string {
	if r.bar == noBar() {
		return "–"
	}
	sign := "≤"
	if r.bar.least {
		sign = "≥"
	}
	if r.ref == 0 {
		return sign + " " + r.unit.show(r.bar.limit)
	}
	return fmt.Sprintf("%s %.2f", sign, r.bar.limit)
}

func (r result) allocColumn() string {
	if r.row.allocs == anyAllocs {
		return "–"
	}
	return fmt.Sprintf("%d/%d", r.sample.allocs, r.row.allocs)
}
