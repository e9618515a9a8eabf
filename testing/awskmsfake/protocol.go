package awskmsfake

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/testing/faultplan"
)

// call is one request whose sender is known.
type call struct {
	*Server
	op     string
	region string
	who    *principal // nil for what needs no signature
	now    time.Time
}

// ServeHTTP implements [http.Handler]. It asks the plan about the call and does to it what
// the plan says.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		cut()
	}
	name, isSTS := r.Header.Get("X-Amz-Target"), false
	if name == "" {
		if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") != "" {
			name, isSTS = "STS."+form.Get("Action"), true
		}
	}
	fault := s.Take(name, r.Header.Clone())
	fail := failJSON
	if isSTS {
		fail = failXML
	}
	switch fault.Kind {
	case faultplan.Latency:
		late := time.NewTimer(fault.Delay)
		defer late.Stop()
		select {
		case <-late.C:
		case <-r.Context().Done():
			cut()
		}
	case faultplan.Throttle:
		if fault.Delay > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(fault.Delay.Seconds()))))
		}
		fail(w, throttled())
		return
	case faultplan.ServerError:
		fail(w, &apiError{code: "KMSInternalException", status: fault.Status, message: "faultplan"})
		return
	case faultplan.Denied:
		fail(w, refuse("AccessDeniedException", "faultplan"))
		return
	case faultplan.CutBefore:
		cut()
	case faultplan.None, faultplan.CutAfter, faultplan.WrongAnswer:
	}
	answer := httptest.NewRecorder()
	if isSTS {
		s.serveSTS(answer, r, body)
	} else {
		s.serveKMS(answer, r, body)
	}
	out := answer.Body.Bytes()
	switch fault.Kind {
	case faultplan.CutAfter:
		cut()
	case faultplan.WrongAnswer:
		out = fault.Rewrite(out)
	default:
	}
	w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
	w.Header().Set("X-Amzn-Requestid", "fake")
	w.WriteHeader(answer.Code)
	_, _ = w.Write(out)
}

// cut breaks the connection without an answer.
func cut() { panic(http.ErrAbortHandler) }

func throttled() *apiError { // page: throttling
	return refuse("ThrottlingException", "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.")
}

func failJSON(w http.ResponseWriter, e *apiError) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": e.code, "message": e.message})
}

func (s *Server) serveKMS(w http.ResponseWriter, r *http.Request, body []byte) {
	op, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	handle := operations()[op]
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/" || !ok || handle == nil:
		failJSON(w, refuse("UnknownOperationException", "%s %s %q", r.Method, r.URL.Path, op))
		return
	case r.Header.Get("Content-Type") != "application/x-amz-json-1.1":
		failJSON(w, refuse("UnknownOperationException", "the content type is %q", r.Header.Get("Content-Type")))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := s.answer(op, handle, r, body)
	if err != nil {
		failJSON(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if out != nil {
		_ = json.NewEncoder(w).Encode(out)
	}
}

func (s *Server) answer(op string, handle handler, r *http.Request, body []byte) (any, *apiError) {
	now := s.config.Now()
	who, scope, err := s.authenticate(r, body, "kms", now)
	if err != nil {
		return nil, err
	}
	if !s.within(op, now) {
		return nil, throttled()
	}
	var in input
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&in); err != nil {
		return nil, refuse("SerializationException", "%v", err)
	}
	for _, k := range s.keys {
		k.settle(now)
	}
	return handle(&call{Server: s, op: op, region: scope.region, who: who, now: now}, &in)
}

type handler func(*call, *input) (any, *apiError)

func operations() map[string]handler {
	return map[string]handler{
		"CancelKeyDeletion":    (*call).cancelKeyDeletion,
		"CreateAlias":          (*call).createAlias,
		"CreateKey":            (*call).createKey,
		"Decrypt":              (*call).decrypt,
		"DeleteAlias":          (*call).deleteAlias,
		"DescribeKey":          (*call).describeKey,
		"DisableKey":           (*call).disableKey,
		"DisableKeyRotation":   (*call).disableKeyRotation,
		"EnableKey":            (*call).enableKey,
		"EnableKeyRotation":    (*call).enableKeyRotation,
		"Encrypt":              (*call).encrypt,
		"GenerateDataKey":      (*call).generateDataKey,
		"GetKeyRotationStatus": (*call).getKeyRotationStatus,
		"ListAliases":          (*call).listAliases,
		"ListKeyRotations":     (*call).listKeyRotations,
		"ListResourceTags":     (*call).listResourceTags,
		"ReEncrypt":            (*call).reEncrypt,
		"ReplicateKey":         (*call).replicateKey,
		"RotateKeyOnDemand":    (*call).rotateKeyOnDemand,
		"ScheduleKeyDeletion":  (*call).scheduleKeyDeletion,
		"TagResource":          (*call).tagResource,
		"UntagResource":        (*call).untagResource,
		"UpdateAlias":          (*call).updateAlias,
	}
}

// input has every parameter that one of the operations takes.
type input struct {
	AliasName                    string
	CiphertextBlob               []byte
	Description                  string
	DestinationEncryptionContext map[string]string
	DestinationKeyID             string `json:"DestinationKeyId"`
	DryRun                       bool
	EncryptionContext            map[string]string
	IncludeKeyMaterial           string
	KeyID                        string `json:"KeyId"`
	KeySpec                      string
	KeyUsage                     string
	Limit                        *int
	Marker                       string
	MultiRegion                  bool
	NumberOfBytes                *int
	Origin                       string
	PendingWindowInDays          *int
	Plaintext                    []byte
	ReplicaRegion                string
	RotationPeriodInDays         *int
	SourceEncryptionContext      map[string]string
	SourceKeyID                  string `json:"SourceKeyId"`
	TagKeys                      []string
	Tags                         []tag
	TargetKeyID                  string `json:"TargetKeyId"`
}

// object is an answer; what is nil is left out.
type object map[string]any

// seconds is how JSON 1.1 carries a time.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
