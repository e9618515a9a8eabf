package vaulttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// Kubernetes is a login at auth/<Mount>/login with the token of a pod's service
// account. The server under test asks a cluster's API whether the token is good;
// that API is played here, as far as a review of tokens goes.
type Kubernetes struct {
	Mount, Role string
	// JWT is the token that the cluster gave to the pod.
	JWT string
	// Revoked makes the cluster disown the token.
	Revoked atomic.Bool
	// Reviews counts how often the cluster was asked.
	Reviews atomic.Int64
}

// The pod's service account.
const (
	podNamespace = "payments"
	podAccount   = "keyrotor"
	podUID       = "8d0f4f2e-6d3c-4f0a-9a59-5b1f7e1c2d3e"
)

// Kubernetes makes a login by service account.
func (s *Server) Kubernetes(t testing.TB, g Grant) *Kubernetes {
	t.Helper()
	s.own(t, "Kubernetes")
	k := &Kubernetes{Role: "keyrotor", JWT: podToken(t)}
	cluster := httptest.NewTLSServer(k)
	t.Cleanup(cluster.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cluster.Certificate().Raw})

	k.Mount = s.enable(t, "kubernetes")
	s.write(t, "auth/"+k.Mount+"/config", map[string]any{
		"kubernetes_host":      cluster.URL,
		"kubernetes_ca_cert":   string(ca),
		"disable_local_ca_jwt": true,
	})
	s.write(t, "auth/"+k.Mount+"/role/"+k.Role, g.role(map[string]any{
		"bound_service_account_names":      []string{podAccount},
		"bound_service_account_namespaces": []string{podNamespace},
	}))
	return k
}

// ServeHTTP is the cluster's API.
func (k *Kubernetes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" {
		http.NotFound(w, r)
		return
	}
	k.Reviews.Add(1)
	var review struct {
		Spec struct {
			Token     string   `json:"token"`
			Audiences []string `json:"audiences"`
		} `json:"spec"`
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	status := map[string]any{"authenticated": false, "error": "the token has been invalidated"}
	if review.Spec.Token == k.JWT && !k.Revoked.Load() {
		status = map[string]any{"authenticated": true, "audiences": review.Spec.Audiences, "user": map[string]any{
			"username": "system:serviceaccount:" + podNamespace + ":" + podAccount, "uid": podUID,
			"groups": []string{"system:serviceaccounts", "system:serviceaccounts:" + podNamespace, "system:authenticated"},
		}}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status,
	})
}

// podToken is a service account's token as a cluster makes it, signed with ES256.
func podToken(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	signed := part(map[string]any{"alg": "ES256", "kid": "test"}) + "." + part(map[string]any{
		"iss": "https://kubernetes.default.svc.cluster.local",
		"aud": []string{"https://kubernetes.default.svc.cluster.local"},
		"sub": "system:serviceaccount:" + podNamespace + ":" + podAccount,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace":      podNamespace,
			"serviceaccount": map[string]any{"name": podAccount, "uid": podUID},
		},
	})
	digest := sha256.Sum256([]byte(signed))
	r, sv, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	sv.FillBytes(signature[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}
