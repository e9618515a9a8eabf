package notify_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/notify"
)

// message is one as a notifier makes it.
func message(t *testing.T) notify.Message {
	t.Helper()
	b := newBench(t, t.TempDir(), nil)
	defer b.close()
	r := &receiver{}
	n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r})
	b.commit("payments", history.Event{
		Type: history.StateChange, Operation: "op", Actor: "alice@host", Version: 2, Note: "<a & b>",
		Time: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC), Details: map[string]string{"from": "active", "to": "suspended", "x": "y"},
	})
	if _, err := n.Deliver(t.Context()); err != nil || len(r.got) != 1 {
		t.Fatal(r.got, err)
	}
	return r.got[0]
}

// TestCloudEvent: the body is one, read by the SDK and without it.
func TestCloudEvent(t *testing.T) {
	m := message(t)
	var e event.Event
	if err := json.Unmarshal(m.Body, &e); err != nil {
		t.Fatal(err)
	}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
	var plain map[string]any
	if err := json.Unmarshal(m.Body, &plain); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"specversion": "1.0", "id": m.ID, "type": "io.keyrotor.version_state_changed", "subject": "payments",
		"time": "2026-03-01T12:00:00.123456Z", "datacontenttype": "application/json",
	} {
		if plain[name] != want {
			t.Errorf("%s is %v, want %s", name, plain[name], want)
		}
	}
	if source, _ := plain["source"].(string); !strings.HasPrefix(source, "urn:uuid:") || len(source) != len("urn:uuid:")+36 {
		t.Errorf("source %q", source)
	}
	for name := range plain { // the specification: lower-case letters and digits
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Errorf("attribute %q", name)
		}
	}
	data, err := json.Marshal(plain["data"])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"actor":"alice@host","details":{"x":"y"},"key":"payments","new_version":2,"note":"\u003ca \u0026 b\u003e","operation_id":"op","state_from":"active","state_to":"suspended","time":"2026-03-01T12:00:00.123456Z","type":"version_state_changed"}`
	if string(data) != want {
		t.Errorf("data %s, want %s", data, want)
	}
	if strings.Contains(m.ID, ".") {
		t.Errorf("the id %q has a full stop", m.ID)
	}
}
