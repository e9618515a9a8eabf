package keyring

import (
	"slices"
	"testing"
)

func TestWraps(t *testing.T) {
	var v Version
	names := func() (names []string) {
		for _, w := range v.Wraps {
			names = append(names, w.Provider+w.KEKVersion)
		}
		return names
	}
	for _, step := range []struct {
		put, drop, version string
		want               []string
	}{
		{put: "b", version: "1", want: []string{"b1"}},
		{put: "a", version: "1", want: []string{"a1", "b1"}},
		{put: "c", version: "1", want: []string{"a1", "b1", "c1"}},
		{put: "b", version: "2", want: []string{"a1", "b2", "c1"}},
		{drop: "d", want: []string{"a1", "b2", "c1"}},
		{drop: "a", want: []string{"b2", "c1"}},
		{drop: "c", want: []string{"b2"}},
		{drop: "b", want: nil},
	} {
		if step.put != "" {
			v.PutWrap(Wrap{Provider: step.put, KEKVersion: step.version})
			if w, ok := v.Wrap(step.put); !ok || w.KEKVersion != step.version {
				t.Errorf("the wrap by %q reads %+v, %v", step.put, w, ok)
			}
		} else if dropped := v.DropWrap(step.drop); dropped != (step.drop != "d") {
			t.Errorf("dropping the wrap by %q answers %v", step.drop, dropped)
		}
		if got := names(); !slices.Equal(got, step.want) {
			t.Errorf("after %+v: %v", step, got)
		}
	}
	if w, ok := v.Wrap("b"); ok {
		t.Errorf("a wrap of a version that has none: %+v", w)
	}
}
