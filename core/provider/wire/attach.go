package wire

// ReattachEnv is the variable in which a developer hands the attachments of plugins to
// a host: a JSON object of them, by plugin type.
const ReattachEnv = "KEYROTOR_REATTACH_PLUGINS"

// Attachment says where a plugin serves that a developer started with -debug, e.g.
// in a debugger, instead of a host. It is what such a plugin prints.
type Attachment struct {
	// Protocol is "grpc".
	Protocol string `json:"protocol"`
	// ProtocolVersion is the one of [Handshake].
	ProtocolVersion uint `json:"protocol_version"`
	PID             int  `json:"pid"`
	// Network is "unix", and Address the path of a socket.
	Network string `json:"network"`
	Address string `json:"address"`
	// TLS is false: there is no channel to agree on certificates. Only the permissions
	// of the socket's directory keep others out.
	TLS bool `json:"tls"`
}
