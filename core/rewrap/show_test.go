package rewrap

import (
	"testing"

	"github.com/keyrotor/keyrotor/core/keyring"
)

func TestDescribeKEK(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 2, "a")
	b.rotateByHand(t, "a")
	b.rotate(t, "payments")
	b.create(t, "orders", 2, "a", "b")
	b.change(t, "orders", func(r *keyring.Record) {
		r.Versions[0].Wraps[0].KEKID = "local:another" // version 2 of it
		r.Versions[1].Wraps[0].KEKVersion = ""
	})
	kek, err := b.mover.DescribeKEK(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if kek.Provider != "a" || kek.KEKID != b.kekID(t, "a") || kek.State != "enabled" || kek.Algorithm != "AES-256-GCM" ||
		kek.Primary != "2" || !kek.RotatedExternally || kek.Elsewhere != 2 || len(kek.Versions) != 2 {
		t.Errorf("%+v", kek)
	}
	for i, want := range []KEKVersion{
		{Version: "1", State: "enabled", Created: kek.Versions[0].Created, Wraps: 2},
		{Version: "2", State: "enabled", Created: kek.Versions[1].Created, Wraps: 1, Primary: true},
	} {
		if kek.Versions[i] != want || want.Created.IsZero() {
			t.Errorf("version %+v, want %+v", kek.Versions[i], want)
		}
	}
	b.historyIs(t, "config orders") // it changes nothing
	// A wrap under another KEK is not fine because its version has the same name.
	if r := b.rewrap(t); len(r.Failed) != 1 || r.Failed[0].Key != "orders" || r.Failed[0].Version != 1 {
		t.Errorf("failed %+v", r.Failed)
	}
	if kek, err = b.mover.DescribeKEK(t.Context(), "a"); err != nil || kek.RotatedExternally || kek.Versions[1].Wraps != 4 {
		t.Errorf("after a rewrap: %+v, %v", kek, err)
	}
	if _, err := b.mover.DescribeKEK(t.Context(), "zzz"); err == nil {
		t.Error("an unknown provider was described")
	}
}
