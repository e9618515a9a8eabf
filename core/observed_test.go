package core

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/provider"
)

// TestConnectionsEnd: a notifier that stops finds the connections of a webhook that is
// watched, and lets go of them.
func TestConnectionsEnd(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	closed := make(chan struct{}, 1)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.Start()
	defer server.Close()
	s := &Setup{Config: &config.File{Notify: []config.Notify{{
		Type: config.NotifyWebhook, Name: "ops", URL: server.URL, Secret: provider.NewSecret([]byte("a secret that is long enough")),
	}}}}
	if err := s.addTargets(); err != nil {
		t.Fatal(err)
	}
	sender := s.targets[0].Sender
	if err := sender.Send(t.Context(), notify.Message{ID: "1", Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	c, ok := sender.(interface{ CloseIdleConnections() })
	if !ok {
		t.Fatal("its connections cannot be closed")
	}
	c.CloseIdleConnections()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the connection is kept")
	}
}
