package notify_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/secret"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

// exampleStore is what an example works with.
func exampleStore(ctx context.Context) (s *sqlite.Store, closeStore func()) {
	dir, err := os.MkdirTemp("", "keyrotor-example-")
	if err != nil {
		log.Fatal(err)
	}
	s, err = sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "keyrotor.db")})
	if err != nil {
		log.Fatal(err)
	}
	return s, func() {
		s.Close()
		os.RemoveAll(dir)
	}
}

// printer is a sender of one's own: the simplest there is.
type printer struct{}

func (printer) Send(_ context.Context, m notify.Message) error {
	fmt.Println(m.Notice.Type, m.Notice.Key, m.Notice.NewVersion)
	return nil
}

// A service gets a notifier from its config file, wired by package core. This is what it
// is wired to.
func Example() {
	ctx := context.Background()
	st, closeStore := exampleStore(ctx)
	defer closeStore()
	n, err := notify.New(notify.Config{
		Store: st, StoreID: st.ID(), Owner: rotation.CurrentOwner().String(),
		Targets: []notify.Target{{Name: "console", Sender: printer{}, Types: []notify.Type{notify.RotationDueSoon}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := n.Subscribe(ctx); err != nil { // from here on nothing is missed
		log.Fatal(err)
	}
	soon := history.Event{Type: history.Type(notify.RotationDueSoon), Key: "payments", Version: 3}
	for range 2 { // the second time it is known
		if err := n.Tell(ctx, "due_soon/payments/v3", soon); err != nil {
			log.Fatal(err)
		}
	}
	// A daemon calls Start, and Stop in the end. A job that runs now and then:
	report, err := n.Deliver(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Targets[0].Delivered, "delivered")
	status, err := n.Status(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status[0].Target, status[0].Open, "open")
	// Output:
	// rotation_due_soon payments 3
	// 1 delivered
	// console 0 open
}

// A function of the service hears of what any process commits from now on.
func ExampleNotifier_Handle() {
	ctx := context.Background()
	st, closeStore := exampleStore(ctx)
	defer closeStore()
	n, err := notify.New(notify.Config{Store: st, StoreID: st.ID(), Owner: "example"})
	if err != nil {
		log.Fatal(err)
	}
	n.Handle("pager", func(_ context.Context, n notify.Notice) {
		fmt.Println(n.Type, n.Provider, n.Details["lag"])
	}, notify.MirrorLag, notify.VerifyFailed)
	if err := n.Start(); err != nil {
		log.Fatal(err)
	}
	lag := history.Event{Type: history.Type(notify.MirrorLag), Provider: "prod", Details: map[string]string{"lag": "12"}}
	if err := n.Tell(ctx, "lag/prod", lag); err != nil {
		log.Fatal(err)
	}
	if err := n.Stop(ctx); err != nil { // handlers have heard of everything by then
		log.Fatal(err)
	}
	// Output: mirror_lag prod 12
}

// The receiver verifies with any library of Standard Webhooks.
func ExampleNewWebhook() {
	ctx := context.Background()
	const shared = "whsec_QUFBQkJCQ0NDREREMTIzNDU2Nzg5MGFiY2RlZmdoaWo="
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		verifier, _ := standardwebhooks.NewWebhook(shared)
		if err := verifier.Verify(body, r.Header); err != nil {
			http.Error(w, "not signed", http.StatusUnauthorized)
			return
		}
		fmt.Println("verified", r.Header.Get("Content-Type"))
	}))
	defer receiver.Close()

	hook, err := notify.NewWebhook(notify.WebhookConfig{URL: receiver.URL, Secret: secret.FromString(shared)})
	if err != nil {
		log.Fatal(err)
	}
	st, closeStore := exampleStore(ctx)
	defer closeStore()
	n, err := notify.New(notify.Config{
		Store: st, StoreID: st.ID(), Owner: "example", Targets: []notify.Target{{Name: "ops", Sender: hook}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := n.Test(ctx, "ops"); err != nil {
		log.Fatal(err)
	}
	// Output: verified application/cloudevents+json; charset=UTF-8
}

// A script gets each notice on its standard input.
func ExampleNewCommand() {
	sender, err := notify.NewCommand(notify.CommandConfig{
		Argv:        []string{"/usr/local/bin/page", "--team", "security"},
		Environment: []string{"PAGER_REGION"},
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = notify.Target{Name: "pager", Types: []notify.Type{notify.RotationFailed}, Sender: sender}
}

// A file gets a line of JSON for each notice.
func ExampleNewLog() {
	sender, err := notify.NewLog(notify.LogConfig{Path: "/var/log/keyrotor/notices.jsonl"})
	if err != nil {
		log.Fatal(err)
	}
	_ = notify.Target{Name: "siem", Sender: sender}
}

// Most of the history is told to nobody.
func ExampleFromEvent() {
	for _, e := range []history.Event{
		{Type: history.Rotation, Key: "payments", Version: 3, PreviousVersion: 2, Details: map[string]string{"policy": "monthly"}},
		{Type: history.Usage, Key: "payments", Version: 3},
	} {
		n, told := notify.FromEvent(e)
		fmt.Println(told, n.Type, n.Key, n.PreviousVersion, n.NewVersion, n.Policy)
	}
	// Output:
	// true key_rotated payments 2 3 monthly
	// false   0 0
}
