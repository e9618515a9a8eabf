package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/secret"
)

// manyValues is how many secret values a service has that has very many.
const manyValues = 100_000

// many are secret values of 1 KiB, and as many ciphertexts of the limit. Each was made
// after a value, so that they lie about in memory as the contents of the values do: what
// that costs is no property of either side.
type many struct {
	values []secret.Rotatable
	sealed [][]byte
}

// valueRows are about secret values that are rotated together. The limit opens and seals
// its ciphertexts.
func (l *lab) valueRows() []row {
	of := sync.OnceValue(l.newMany)
	return []row{
		{"rotate secret values, 1 KiB, against limit decrypt + encrypt", atMost(1.25), anyAllocs, func(d time.Duration) sample {
			return compare(l.rotateValues(of().values, 1), l.limitOver(of().sealed, 1), d)
		}},
		{"rotate secret values on 2 workers against 1", atLeast(1.7), anyAllocs, func(d time.Duration) sample {
			return compare(l.rotateValues(of().values, 2), l.rotateValues(of().values, 1), d)
		}},
		{"rotate secret values, 1 KiB, against the limit, on 2 workers each", atMost(1.25 * limitScaling / 1.7), anyAllocs, func(d time.Duration) sample {
			return compare(l.rotateValues(of().values, 2), l.limitOver(of().sealed, 2), d)
		}},
	}
}

func (l *lab) newMany() many {
	s, limit := l.subject(), l.refs().limit
	key := s.ensureKey(l.ctx, "values")
	m := many{make([]secret.Rotatable, manyValues), make([][]byte, manyValues)}
	for i := range manyValues {
		m.values[i] = must(secret.NewValue(l.ctx, s.Engine, random(kib), secret.Options{Name: fmt.Sprintf("value/%d", i), Key: key}))
		m.sealed[i] = limit.Seal(nil, nil, random(kib), aad)
	}
	return m
}

// rotateValues is a side that has all values re-encrypted, each time to a version that
// was made for it before the clock is started.
func (l *lab) rotateValues(values []secret.Rotatable, workers int) side {
	s := l.subject()
	return func() float64 {
		must(s.Rotate(l.ctx, "values", keyring.ReasonManual, ""))
		var report secret.Report
		took := uncollected(func() {
			report = must(secret.Rotate(l.ctx, s.Engine, values, secret.RotateOptions{Workers: workers}))
		})
		expect(report.Changed == manyValues, "values were not re-encrypted")
		return took / manyValues
	}
}

func (l *lab) limitOver(sealed [][]byte, workers int) side {
	limit := l.refs().limit
	some := func(sealed [][]byte) {
		buf, out := make([]byte, 0, kib), make([]byte, 0, kib+28)
		for _, ct := range sealed {
			limit.Seal(out, nil, must(limit.Open(buf, nil, ct, aad)), aad)
		}
	}
	return func() float64 {
		return uncollected(func() {
			var wg sync.WaitGroup
			for part := range slices.Chunk(sealed, len(sealed)/workers) {
				wg.Go(func() { some(part) })
			}
			wg.Wait()
		}) / manyValues
	}
}

// uncollected times f while the collector waits, as sliced does.
func uncollected(f func()) float64 {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	return repeat(f, 1)
}
