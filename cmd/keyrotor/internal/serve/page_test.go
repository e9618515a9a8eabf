package serve

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyrotor/keyrotor/core/metrics"
)

// TestPage: the page lists the metrics that there are, with their labels, and its alerts
// are about those.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "SERVE.md"))
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{metrics: metrics.New(), reloads: newReloadMetrics(), registry: prometheus.NewRegistry()}
	d.Opener.Log = slog.New(slog.DiscardHandler)
	d.register()
	descriptions := make(chan *prometheus.Desc)
	go func() {
		d.registry.Describe(descriptions)
		close(descriptions)
	}()
	form := regexp.MustCompile(`fqName: "(keyrotor_\w+)".*constLabels: {([^}]*)}, variableLabels: {([^}]*)}`)
	var there []string
	var names []string
	for desc := range descriptions {
		found := form.FindStringSubmatch(desc.String())
		if found == nil {
			continue
		}
		var labels []string
		for label := range strings.SplitSeq(found[2]+","+found[3], ",") {
			if name, _, _ := strings.Cut(label, "="); name != "" {
				labels = append(labels, name)
			}
		}
		slices.Sort(labels)
		names = append(names, found[1])
		there = append(there, found[1]+"{"+strings.Join(labels, ",")+"}")
	}
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(keyrotor_\\w+)(?:{(.*)})?` \\|").FindAllStringSubmatch(string(text), -1) {
		labels := strings.Split(row[2], ",")
		slices.Sort(labels)
		listed = append(listed, row[1]+"{"+strings.Join(labels, ",")+"}")
	}
	slices.Sort(there)
	slices.Sort(listed)
	if len(there) == 0 || !slices.Equal(there, listed) {
		t.Errorf("there are\n%s\nand the page lists\n%s", strings.Join(there, "\n"), strings.Join(listed, "\n"))
	}
	_, alerts, ok := strings.Cut(string(text), "## Alerts")
	mentioned := regexp.MustCompile(`keyrotor_\w+`).FindAllString(alerts, -1)
	if !ok || len(mentioned) < 10 {
		t.Errorf("the alerts are about %q", mentioned)
	}
	for _, name := range mentioned {
		if !slices.Contains(names, name) {
			t.Errorf("an alert is about %s, which there is not", name)
		}
	}
}

// TestUnit: the times of the unit fit those of the program.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "keyrotor.service"))
	if err != nil {
		t.Fatal(err)
	}
	seconds := func(name string) (n int) {
		found := regexp.MustCompile(`(?m)^` + name + `=(\d+)s$`).FindStringSubmatch(string(text))
		if found == nil {
			t.Fatalf("the unit does not set %s", name)
		}
		for _, digit := range found[1] {
			n = n*10 + int(digit-'0')
		}
		return n
	}
	if stop := seconds("TimeoutStopSec"); stop <= int(DefaultShutdownTimeout.Seconds())+15 {
		t.Errorf("systemd would kill it after %d s, while it closes", stop)
	}
	if start := seconds("TimeoutStartSec"); start <= 2*int(askTimeout.Seconds()) {
		t.Errorf("systemd would kill it after %d s, while it asks", start)
	}
	if !strings.Contains(string(text), "\nExecStart=/usr/local/bin/keyrotor serve --config /etc/keyrotor/keyrotor.hcl\n") {
		t.Error("the command line changed: see that its flags are there")
	}
}
