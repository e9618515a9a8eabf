package reencrypt

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"testing"
)

// TestHighest: versions count whether their key's store knows of them or not, in
// binary files and in tokens without a separator too; look-alikes and other keys do
// not.
func TestHighest(t *testing.T) {
	dir := tree(t, map[string]string{
		"a.env":     old("1") + "\n" + fakeToken("payments", 9, "x", "aad") + "\n" + fakeToken("payments", 4, "", "") + "\n" + fakeToken("payments", 9, "", ""),
		"b.bin":     "\x00\n" + fakeToken("billing", 3, "x", ""),
		"c.txt":     "\n" + fakeToken("orders", 7, "", "") + fakeToken("orders", 6, "", ""),
		"d.txt":     fakeToken("gone", 8, "", "") + "\nkeyrotor:payments:v99:\nkeyrotor:payments:v98:AQ\n",
		".git/x":    fakeToken("payments", 50, "", ""),
		"empty.txt": "",
	})
	calls := 0
	report, err := Highest(t.Context(), []string{"billing", "orders", "payments", "unused"}, []string{dir, filepath.Join(t.TempDir(), "nowhere")}, func(Progress) { calls++ })
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Sighting{
		"payments": {9, Place{filepath.Join(dir, "a.env"), 2}},
		"billing":  {3, Place{filepath.Join(dir, "b.bin"), 2}},
		"orders":   {7, Place{filepath.Join(dir, "c.txt"), 2}},
	}
	if !reflect.DeepEqual(report.Keys, want) || report.Files != 5 || report.Tokens != 7 {
		t.Errorf("%+v", report)
	}
	if len(report.Skipped) != 1 || len(report.Failed) != 1 || report.Failed[0].Code != IO || calls < 5 {
		t.Errorf("skipped %+v, failed %+v, %d calls of progress", report.Skipped, report.Failed, calls)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Highest(ctx, nil, []string{dir}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	report, err = Highest(t.Context(), nil, nil, nil)
	if err != nil || len(report.Keys) != 0 || report.Failed == nil || report.Skipped == nil {
		t.Errorf("of nothing: %+v, %v", report, err)
	}
}
