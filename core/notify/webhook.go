package notify

import (
	"net/http"

	"github.com/keyrotor/keyrotor/core/secret"
)

// WebhookConfig is where a webhook goes. URL and Secret are required.
type WebhookConfig struct {
	// URL is https; http goes to this machine only, unless AllowHTTP.
	URL       string
	AllowHTTP bool
	// Secret signs: "whsec_" and base64, or text that is taken as it is; 24 bytes at
	// least.
	Secret secret.Bytes
	// Headers are sent with each request.
	Headers map[string]secret.Bytes
	// CAFile has the certificates, in PEM, that the receiver's is checked by. The
	// system's are used if it is empty.
	CAFile string
	// Client, if set, sends the requests, and CAFile must be empty.
	Client *http.Client
}

// NewWebhook makes a sender of signed HTTP requests.
func NewWebhook(c WebhookConfig) (Sender, error) { return nil, nil }
