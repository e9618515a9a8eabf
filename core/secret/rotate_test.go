package secret_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/secret"
)

// TestRotate: every kind of value, and what the report says of each, in hand one by one
// and together.
func TestRotate(t *testing.T) {
	for _, batch := range []int{1, secret.DefaultBatch} {
		t.Run(fmt.Sprint("batch=", batch), func(t *testing.T) { testRotate(t, batch) })
	}
}

func testRotate(t *testing.T, batch int) {
	k := newKeys(t)
	masked := value(t, nil, "m", secret.Options{Name: "masked", Handling: secret.Mask})
	text := value(t, k, "t", secret.Options{Name: "text", Key: "payments"})
	sealed := value(t, k, []byte("s"), secret.Options{Name: "sealed", Key: "payments", Handling: secret.Sealed})
	number := value(t, k, 7, secret.Options{Name: "number", Key: "orders"})
	wiped := value(t, k, "w", secret.Options{Name: "wiped", Key: "payments"})
	wiped.Wipe()
	k.rotate(t, "payments")
	k.rotate(t, "payments")
	current := value(t, k, "c", secret.Options{Name: "current", Key: "payments"})
	report, err := secret.Rotate(t.Context(), k, []secret.Rotatable{masked, text, sealed, number, wiped, current, text, nil, secret.Value[int]{}, (*secret.Value[string])(nil), &number}, secret.RotateOptions{Batch: batch})
	if err != nil {
		t.Fatal(err)
	}
	// The copy of text was changed by whoever came first.
	first, second := report.Outcome(1), report.Outcome(6)
	if second.Changed() {
		first, second = second, first
	}
	if first != (secret.Outcome{Name: "text", Key: "payments", From: 1, To: 3}) || second != (secret.Outcome{Name: "text", Key: "payments", From: 3, To: 3}) {
		t.Errorf("of one value twice the report says %+v and %+v", first, second)
	}
	for i, want := range map[int]secret.Outcome{
		0:  {Name: "masked"},
		2:  {Name: "sealed", Key: "payments", From: 1, To: 3},
		3:  {Name: "number", Key: "orders", From: 1, To: 1},
		5:  {Name: "current", Key: "payments", From: 3, To: 3},
		10: {Name: "number", Key: "orders", From: 1, To: 1},
	} {
		if report.Outcome(i) != want {
			t.Errorf("%d: %+v, want %+v", i, report.Outcome(i), want)
		}
	}
	for i, name := range map[int]string{4: "wiped", 7: "", 8: "", 9: ""} {
		if out := report.Outcome(i); !errors.Is(out.Err, secret.ErrEmpty) || out.Name != name || out.Changed() {
			t.Errorf("%d: %+v, want ErrEmpty", i, out)
		}
	}
	if report.Changed != 2 || report.Unchanged != 5 || report.Failed != 4 || report.Untouched != 0 {
		t.Errorf("the sums are %+v", report)
	}
	for key, want := range map[string]secret.KeyCounts{
		"payments": {Counts: secret.Counts{Changed: 2, Unchanged: 2, Failed: 1}, From: []uint32{1}, To: []uint32{3}},
		"orders":   {Counts: secret.Counts{Unchanged: 2}},
	} {
		if got := report.Keys[key]; !reflect.DeepEqual(got, want) {
			t.Errorf("of %s the sums are %+v, want %+v", key, got, want)
		}
	}
	if len(report.Keys) != 2 {
		t.Errorf("there are sums of %d keys", len(report.Keys))
	}
	if got, err := text.Get(t.Context()); got != "t" || err != nil {
		t.Errorf("text is %q, %v", got, err)
	}
	if got, err := number.Get(t.Context()); got != 7 || err != nil {
		t.Errorf("number is %d, %v", got, err)
	}
	if err := sealed.Use(t.Context(), func(b []byte) error {
		if string(b) != "s" {
			t.Errorf("sealed is %q", b)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if n := k.accessesTo("payments/sealed"); n != 1 {
		t.Errorf("%d accesses: a rotation is none", n)
	}
	if token, err := sealed.Ciphertext(t.Context()); err != nil || !strings.HasPrefix(string(token), "keyrotor:payments:v3:") {
		t.Errorf("sealed is under %s, %v", token, err)
	}
}

// TestReportIsOfThen: what the caller does with its list afterwards changes no report.
func TestReportIsOfThen(t *testing.T) {
	k := newKeys(t)
	values := []secret.Rotatable{
		value(t, k, "x", secret.Options{Name: "A", Key: "payments"}),
		value(t, k, "y", secret.Options{Name: "B", Key: "payments"}),
	}
	report, err := secret.Rotate(t.Context(), k, values, secret.RotateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	values[0], values[1] = values[1], nil
	for i, name := range []string{"A", "B"} {
		if got, want := report.Outcome(i), (secret.Outcome{Name: name, Key: "payments", From: 1, To: 1}); got != want {
			t.Errorf("%d: %+v, want %+v", i, got, want)
		}
	}
}

// TestRotateOfTokens: a value that was loaded as text stays text, and the other way round.
func TestRotateOfTokens(t *testing.T) {
	k := newKeys(t)
	token, err := k.Encrypt(t.Context(), "payments", []byte("s3cret"), []byte("A"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := secret.FromToken[string](t.Context(), k, token, secret.Options{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	k.rotate(t, "payments")
	if _, err := secret.Rotate(t.Context(), k, []secret.Rotatable{v}, secret.RotateOptions{}); err != nil {
		t.Fatal(err)
	}
	next, err := v.Ciphertext(t.Context())
	if err != nil || !bytes.HasPrefix(next, []byte("keyrotor:payments:v2:")) {
		t.Errorf("it is %s, %v", next, err)
	}
	if got, err := v.Get(t.Context()); got != "s3cret" || err != nil {
		t.Errorf("Get = %q, %v", got, err)
	}
}

// TestRotateFails: a value that fails stays as it was, and stops no other.
func TestRotateFails(t *testing.T) {
	k := newKeys(t)
	var values []secret.Rotatable
	var texts []secret.Value[string]
	for i := range 100 {
		v := value(t, k, fmt.Sprint(i), secret.Options{Name: fmt.Sprintf("v%02d", i), Key: "payments"})
		values, texts = append(values, v), append(texts, v)
	}
	k.rotate(t, "payments")
	k.before = func(aad []byte) error {
		if aad[2] == '3' {
			return keyring.ErrUsageLimit
		}
		return nil
	}
	var last secret.Progress
	calls := 0
	report, err := secret.Rotate(t.Context(), k, values, secret.RotateOptions{Workers: 4, Batch: 7, Progress: func(p secret.Progress) {
		calls++
		if p.Done <= last.Done || p.Failed < last.Failed || p.Total != 100 {
			t.Errorf("progress went from %+v to %+v", last, p)
		}
		last = p
	}})
	if err != nil {
		t.Fatal(err)
	}
	if report.Changed != 90 || report.Failed != 10 || last != (secret.Progress{Done: 100, Failed: 10, Total: 100}) || calls != 15 {
		t.Errorf("%d changed, %d failed; at last %+v after %d calls", report.Changed, report.Failed, last, calls)
	}
	for i, out := range report.All() {
		name := fmt.Sprintf("v%02d", i)
		want := secret.Outcome{Name: name, Key: "payments", From: 1, To: 2}
		if i%10 == 3 {
			if !errors.Is(out.Err, keyring.ErrUsageLimit) || !strings.HasPrefix(out.Err.Error(), `secret value "`+name+`": `) {
				t.Errorf("%s: %v", name, out.Err)
			}
			want = secret.Outcome{Name: name, Key: "payments", From: 1, To: 1, Err: out.Err}
		}
		if out != want {
			t.Errorf("%+v, want %+v", out, want)
		}
		if got := used(t, texts[i]); got != fmt.Sprint(i) {
			t.Errorf("%s is %q", name, got)
		}
		if token, err := texts[i].Ciphertext(t.Context()); err != nil || !strings.HasPrefix(string(token), fmt.Sprintf("keyrotor:payments:v%d:", want.To)) {
			t.Errorf("%s is under %s, %v", name, token, err)
		}
	}
	// What failed is made up for by doing it again.
	k.before = nil
	if again, err := secret.Rotate(t.Context(), k, values, secret.RotateOptions{}); err != nil || again.Changed != 10 || again.Unchanged != 90 {
		t.Errorf("again: %d changed, %d unchanged, %v", again.Changed, again.Unchanged, err)
	}
}

// TestRotatePinned: values end under the version that was asked for, or stay.
func TestRotatePinned(t *testing.T) {
	k := newKeys(t)
	v := value(t, k, "x", secret.Options{Name: "A", Key: "payments"})
	free := value(t, k, "y", secret.Options{Name: "B", Key: "orders"})
	k.rotate(t, "payments")
	k.rotate(t, "orders")
	rotate := func(pin uint32) secret.Report {
		t.Helper()
		report, err := secret.Rotate(t.Context(), k, []secret.Rotatable{v, free}, secret.RotateOptions{Versions: map[string]uint32{"payments": pin}})
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	if r := rotate(1); r.Outcome(0).Err != nil || r.Outcome(0).Changed() || !r.Outcome(1).Changed() {
		t.Errorf("where it is already: %+v", r)
	}
	if r := rotate(3); !errors.Is(r.Outcome(0).Err, secret.ErrPinned) || r.Outcome(0).To != 1 ||
		!strings.HasSuffix(r.Outcome(0).Err.Error(), `key "payments" has version 2 as its primary, and version 3 is asked for`) {
		t.Errorf("to a version that is not the primary: %+v", r)
	}
	if got := used(t, v); got != "x" {
		t.Errorf("it is %q", got)
	}
	if r := rotate(2); r.Outcome(0) != (secret.Outcome{Name: "A", Key: "payments", From: 1, To: 2}) {
		t.Errorf("to the primary: %+v", r)
	}
	if r := rotate(1); !errors.Is(r.Outcome(0).Err, secret.ErrPinned) || r.Outcome(0).To != 2 {
		t.Errorf("back: %+v", r)
	}
}

// TestRotateStrayPin: a pin of a key that no value is under is refused, and changes nothing.
func TestRotateStrayPin(t *testing.T) {
	k := newKeys(t)
	v := value(t, k, "x", secret.Options{Name: "A", Key: "payments"})
	mask := value(t, k, "y", secret.Options{Name: "B", Handling: secret.Mask})
	k.rotate(t, "payments")
	calls := 0
	k.before = func([]byte) error { calls++; return nil }
	report, err := secret.Rotate(t.Context(), k, []secret.Rotatable{mask, v, nil}, secret.RotateOptions{
		Versions: map[string]uint32{"payments": 2, "paymets": 2, "orders": 1},
	})
	if err == nil || !strings.Contains(err.Error(), `["orders" "paymets"]`) || calls != 0 || report.Counts != (secret.Counts{}) {
		t.Errorf("%+v, %v, after %d calls", report.Counts, err, calls)
	}
}

// TestRotatePointers: a pointer to a value is one, too, and a nil pointer is nothing.
func TestRotatePointers(t *testing.T) {
	k := newKeys(t)
	v := value(t, k, "x", secret.Options{Name: "A", Key: "payments"})
	k.rotate(t, "payments")
	var none *secret.Value[string]
	report, err := secret.Rotate(t.Context(), k, []secret.Rotatable{none, &v, nil, new(secret.Value[int])}, secret.RotateOptions{})
	if err != nil || report.Changed != 1 || report.Failed != 3 {
		t.Fatalf("%+v, %v", report.Counts, err)
	}
	for i, out := range report.All() {
		if i == 1 {
			if out != (secret.Outcome{Name: "A", Key: "payments", From: 1, To: 2}) {
				t.Errorf("the pointer: %+v", out)
			}
		} else if out != (secret.Outcome{Err: secret.ErrEmpty}) {
			t.Errorf("%d, which is nothing: %+v", i, out)
		}
	}
}

// TestRotateCanceled: what was not reached is as it was, and the report says so.
func TestRotateCanceled(t *testing.T) {
	k := newKeys(t)
	var values []secret.Rotatable
	for i := range 50 {
		values = append(values, value(t, k, "x", secret.Options{Name: fmt.Sprint(i), Key: "payments"}))
	}
	k.rotate(t, "payments")
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("the service stops")
	var n atomic.Int32
	k.before = func([]byte) error {
		if n.Add(1) == 20 {
			cancel(stopped)
			return ctx.Err() // as a key manager would that was asked
		}
		return nil
	}
	var last secret.Progress
	report, err := secret.Rotate(ctx, k, values, secret.RotateOptions{Workers: 1, Batch: 8, Progress: func(p secret.Progress) { last = p }})
	if !errors.Is(err, stopped) || err.Error() != "rotate secret values: 31 of 50 were not reached: the service stops" {
		t.Errorf("%v", err)
	}
	if report.Changed != 19 || report.Untouched != 31 || report.Failed != 0 {
		t.Errorf("%d changed, %d untouched, %d failed", report.Changed, report.Untouched, report.Failed)
	}
	if last != (secret.Progress{Done: 19, Total: 50}) {
		t.Errorf("the last progress is %+v", last)
	}
	for i, out := range report.All() {
		if i < 19 != out.Changed() || i >= 19 != errors.Is(out.Err, stopped) || out.Name != fmt.Sprint(i) {
			t.Errorf("%d: %+v", i, out)
		}
		if got := used(t, values[i].(secret.Value[string])); got != "x" {
			t.Errorf("%d is %q", i, got)
		}
	}
}

// TestRotateInOneBatch: a batch of as many as there may be is one of all.
func TestRotateInOneBatch(t *testing.T) {
	k := newKeys(t)
	a := value(t, k, "x", secret.Options{Name: "A", Key: "payments"})
	b := value(t, k, "y", secret.Options{Name: "B", Key: "payments"})
	k.rotate(t, "payments")
	report, err := secret.Rotate(t.Context(), k, []secret.Rotatable{a, b}, secret.RotateOptions{Workers: 2, Batch: math.MaxInt})
	if err != nil || report.Changed != 2 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestRotateTogether: several rotations of the same values, in opposite orders and with
// each value twice, wait for one another without end nowhere, and change each value once.
func TestRotateTogether(t *testing.T) {
	k := newKeys(t)
	var values []secret.Rotatable
	for i := range 50 {
		v := value(t, k, fmt.Sprint(i), secret.Options{Name: fmt.Sprint(i), Key: "payments"})
		values = append(values, v, v)
	}
	backwards := slices.Clone(values)
	slices.Reverse(backwards)
	for range 20 {
		k.rotate(t, "payments")
		var changed atomic.Int64
		var wg sync.WaitGroup
		for _, list := range [][]secret.Rotatable{values, backwards, values, backwards} {
			wg.Go(func() {
				report, err := secret.Rotate(t.Context(), k, list, secret.RotateOptions{Workers: 2, Batch: 30})
				if err != nil || report.Changed+report.Unchanged != len(list) || report.Keys["payments"].Counts != report.Counts {
					t.Errorf("%+v, %v", report.Counts, err)
				}
				changed.Add(int64(report.Changed))
			})
		}
		wg.Wait()
		if n := changed.Load(); n != 50 {
			t.Fatalf("50 values were changed %d times", n)
		}
	}
	for i, v := range values {
		if got := used(t, v.(secret.Value[string])); got != fmt.Sprint(i/2) {
			t.Errorf("value %d is %q", i/2, got)
		}
	}
}

func TestRotateOptions(t *testing.T) {
	for _, o := range []secret.RotateOptions{{Workers: -1}, {Batch: -1}} {
		if _, err := secret.Rotate(t.Context(), newKeys(t), nil, o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	if r, err := secret.Rotate(t.Context(), newKeys(t), nil, secret.RotateOptions{}); err != nil || r.Counts != (secret.Counts{}) || len(r.Keys) != 0 {
		t.Errorf("of nothing: %+v, %v", r, err)
	}
}

// TestReadWhileRotated: at every moment a value is what it is, whoever rotates it.
func TestReadWhileRotated(t *testing.T) {
	k := newKeys(t)
	const n = 20
	var values []secret.Rotatable
	var texts []secret.Value[string]
	for i := range n {
		v := value(t, k, strings.Repeat(fmt.Sprint(i%10), 100+i), secret.Options{Name: fmt.Sprint(i), Key: "payments"})
		values, texts = append(values, v), append(texts, v)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for r := range 4 {
		readers.Go(func() {
			for i := r; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				want := strings.Repeat(fmt.Sprint(i%n%10), 100+i%n)
				if got, err := texts[i%n].Get(t.Context()); got != want || err != nil {
					t.Errorf("value %d is %q, %v", i%n, got, err)
					return
				}
			}
		})
	}
	for range 10 {
		k.rotate(t, "payments")
		var rotators sync.WaitGroup
		for range 2 {
			rotators.Go(func() {
				if r, err := secret.Rotate(t.Context(), k, values, secret.RotateOptions{Workers: 2, Batch: 3}); err != nil || r.Failed > 0 {
					t.Errorf("%+v, %v", r, err)
				}
			})
		}
		rotators.Wait()
	}
	close(done)
	readers.Wait()
	for _, v := range texts {
		if token, err := v.Ciphertext(t.Context()); err != nil || !strings.HasPrefix(string(token), "keyrotor:payments:v11:") {
			t.Errorf("%s is under %.30s, %v", v.Name(), token, err)
		}
	}
}
