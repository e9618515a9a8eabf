package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes is how many scrapes are answered at a time.
const maxScrapes = 4

// register fills the registry.
func (d *daemon) register() {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "keyrotor_build_info", Help: "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": d.Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	d.registry.MustRegister(
		build, d.metrics, d.reloads.successful, d.reloads.timestamp,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
}

// handler answers the three questions that a daemon is asked. The mux refuses other
// methods than GET and HEAD.
func (d *daemon) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", d.healthz)
	mux.HandleFunc("GET /readyz", d.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(d.Opener.Log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
	}))
	return mux
}

// healthz answers whether to leave the process alone: nothing that a restart would not
// mend makes it fail.
func (d *daemon) healthz(w http.ResponseWriter, _ *http.Request) {
	if err := d.alive(); err != nil {
		writeText(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	writeText(w, http.StatusOK, "ok")
}

// alive says why the process had better be started anew, nil if there is no reason.
func (d *daemon) alive() error {
	if d.stopping.Load() {
		return errStopping
	}
	return d.current.Load().Scheduler.Alive()
}

// readyz answers whether keys are rotated when they are due.
func (d *daemon) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	answer := d.readiness(ctx)
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	if !acceptsJSON(r) {
		writeText(w, status, answer.lines()...)
		return
	}
	encoded, err := json.Marshal(answer)
	if err != nil {
		writeText(w, http.StatusInternalServerError, "the answer cannot be written")
		return
	}
	write(w, status, "application/json", append(encoded, '\n'))
}

func acceptsJSON(r *http.Request) bool {
	for _, header := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(header, ",") {
			if t, _, err := mime.ParseMediaType(part); err == nil && t == "application/json" {
				return true
			}
		}
	}
	return false
}

func writeText(w http.ResponseWriter, status int, lines ...string) {
	var b strings.Builder
	for _, line := range lines {
		fmt.Fprintln(&b, oneLine(line))
	}
	write(w, status, "text/plain; charset=utf-8", []byte(b.String()))
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // who asked is gone if it fails
}

// oneLine makes of text that others wrote what fits on a line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
