package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// row is one figure that is held to a bar.
type row struct {
	name string
	bar  bar
	// allocs is what a turn may allocate at most; anyAllocs looks away.
	allocs int64
	// round measures once, each side for about d.
	round func(d time.Duration) sample
}

// anyAllocs: the row is not about allocations.
const anyAllocs = -1

// sample is the figure of one round, and of its reference if the row has one.
type sample struct {
	figure, ref float64
	unit        unit
	allocs      int64
}

// bar is what a row keeps to: its ratio to the reference, or its figure if it has
// none.
type bar struct {
	limit float64
	least bool // at least limit, not at most
}

func atMost(limit float64) bar  { return bar{limit: limit} }
func atLeast(limit float64) bar { return bar{limit: limit, least: true} }

// noBar is of a row that is there to explain others: a throughput, which is never
// below zero.
func noBar() bar { return atLeast(0) }

// value is what the bar judges. A ratio that is to be at least something is one of
// throughput, any other one of time.
func (b bar) value(s sample) float64 {
	switch {
	case s.ref == 0:
		return s.figure
	case b.least:
		return s.ref / s.figure
	default:
		return s.figure / s.ref
	}
}

func (b bar) keeps(value float64) bool {
	if b.least {
		return value >= b.limit
	}
	return value <= b.limit
}

// against is a row of ours as a ratio to a reference, both of many turns.
func against(name string, b bar, allocs int64, ours, ref loop) row {
	return row{name, b, allocs, func(d time.Duration) sample {
		turn := ours()
		s := compare(sliced(turn), sliced(ref()), d)
		s.allocs = int64(testing.AllocsPerRun(100, turn))
		return s
	}}
}

// singly is a row of ours as a ratio to a reference, each turn timed by itself:
// they are long, and the median turn counts.
func singly(name string, b bar, ours, ref loop) row {
	return row{name, b, anyAllocs, func(d time.Duration) sample { return compare(single(ours()), single(ref()), d) }}
}

// absolute is a row whose figure has no reference.
func absolute(name string, b bar, u unit, figure func(d time.Duration) float64) row {
	return row{name, b, anyAllocs, func(d time.Duration) sample { return sample{figure: figure(d), unit: u} }}
}

// result is what the rounds of a row came to: medians, and the spread of what the
// bar judges.
type result struct {
	row
	sample
	value, min, max float64
}

func (r result) ok() bool {
	return r.bar.keeps(r.value) && (r.row.allocs == anyAllocs || r.sample.allocs <= r.row.allocs)
}

// take measures a row.
func (r row) take(ctx context.Context, rounds int, d time.Duration) (_ result, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("%s: %w", r.name, p)
		default:
			panic(p)
		}
	}()
	out := result{row: r, min: math.Inf(1), max: math.Inf(-1)}
	var figures, refs, values []float64
	for range rounds {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		s := r.round(d)
		v := r.bar.value(s)
		figures, refs, values = append(figures, s.figure), append(refs, s.ref), append(values, v)
		out.min, out.max = min(out.min, v), max(out.max, v)
		out.unit, out.sample.allocs = s.unit, max(out.sample.allocs, s.allocs)
	}
	out.figure, out.ref, out.value = median(figures), median(refs), median(values)
	return out, nil
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// failure is an error that ends a row; it comes out of whatever the row was doing.
type failure struct{ error }

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// expect fails the row unless what it rests on is so.
func expect(ok bool, otherwise string) {
	if !ok {
		check(errors.New(otherwise))
	}
}
