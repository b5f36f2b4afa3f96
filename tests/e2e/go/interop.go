// SPDX-License-Identifier: Apache-2.0

// interop ADDRESS [CA [CERTIFICATE KEY [TOKEN]]] - the public gRPC interoperability cases, driven by
// grpc-go, whose HTTP/2 shares no line with ours nor with the other test clients'.
//
// Files are PEM. Prints one line per case, TAP fashion, and exits with 1 when one failed.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/ioutil"
	"os"
	"reflect"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	service       = "/grpc.testing.TestService/"
	largeRequest  = 271828
	largeResponse = 314159
	initialName   = "x-grpc-test-echo-initial"
	trailingName  = "x-grpc-test-echo-trailing-bin"
)

var (
	conn            *grpc.ClientConn
	token           string
	patience        = 60 * time.Second
	streamRequests  = []int{27182, 8, 1828, 45904}
	streamResponses = []int{31415, 9, 2653, 58979}
	bidi            = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
)

func die(err error) {
	fmt.Println("Bail out!", err)
	os.Exit(1)
}

func dial(args []string) {
	options := []grpc.DialOption{grpc.WithInsecure()}
	if len(args) > 1 {
		pem, err := ioutil.ReadFile(args[1])
		if err != nil {
			die(err)
		}
		config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
		config.RootCAs.AppendCertsFromPEM(pem)
		if len(args) > 3 {
			pair, err := tls.LoadX509KeyPair(args[2], args[3])
			if err != nil {
				die(err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		options = []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(config))}
	}
	if len(args) > 4 {
		token = args[4]
	}
	var err error
	if conn, err = grpc.Dial(args[0], options...); err != nil {
		die(err)
	}
}

func within(limit time.Duration, fields ...string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	if token != "" {
		fields = append(fields, "authorization", "Bearer "+token)
	}
	return metadata.AppendToOutgoingContext(ctx, fields...), cancel
}

func unary(method string, request, answer interface{}, options ...grpc.CallOption) error {
	ctx, cancel := within(patience)
	defer cancel()
	return conn.Invoke(ctx, method, request, answer, options...)
}

func open(ctx context.Context, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	return conn.NewStream(ctx, bidi, service+method, options...)
}

func zeros(n int) *payload { return &payload{Body: make([]byte, n)} }

func large() *simpleRequest {
	return &simpleRequest{ResponseSize: largeResponse, Payload: zeros(largeRequest)}
}

func expect(what string, got, wanted interface{}) error {
	if !reflect.DeepEqual(got, wanted) {
		return fmt.Errorf("%s: got %v, expected %v", what, got, wanted)
	}
	return nil
}

func expectCode(err error, code codes.Code) error {
	if status.Code(err) != code {
		return fmt.Errorf("status: got %v, expected %v", err, code)
	}
	return nil
}

// The first failure of several steps.
func all(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func answeredLarge(request *simpleRequest, options ...grpc.CallOption) error {
	answer := &simpleResponse{}
	if err := unary(service+"UnaryCall", request, answer, options...); err != nil {
		return err
	}
	if answer.Payload == nil {
		return fmt.Errorf("no payload")
	}
	return expect("payload", answer.Payload.Body, make([]byte, largeResponse))
}

// Sizes of all answers of a stream up to its end; io.EOF, a good end, is no error.
func sizes(stream grpc.ClientStream) (got []int, err error) {
	for {
		answer := &simpleResponse{} // the same on the wire
		if err := stream.RecvMsg(answer); err == io.EOF {
			return got, nil
		} else if err != nil {
			return got, err
		}
		got = append(got, len(answer.Payload.Body))
	}
}

func ask(request, response int) *outputRequest {
	return &outputRequest{Payload: zeros(request), Parameters: []*responseParameters{{Size: int32(response)}}}
}

func exchange(stream grpc.ClientStream, request, response int) error {
	if err := stream.SendMsg(ask(request, response)); err != nil {
		return err
	}
	answer := &simpleResponse{}
	if err := stream.RecvMsg(answer); err != nil {
		return err
	}
	return expect("size", len(answer.Payload.Body), response)
}

func collect(expectCompressed bool, parts []int, options ...grpc.CallOption) (int32, error) {
	ctx, cancel := within(patience)
	defer cancel()
	stream, err := open(ctx, "StreamingInputCall", options...)
	if err != nil {
		return 0, err
	}
	for _, n := range parts {
		request := &inputRequest{Payload: zeros(n)}
		if expectCompressed {
			request.ExpectCompressed = &boolValue{Value: true}
		}
		if err := stream.SendMsg(request); err == io.EOF {
			break // the server has answered already; RecvMsg says what
		} else if err != nil {
			return 0, err
		}
	}
	stream.CloseSend()
	answer := &inputResponse{}
	err = stream.RecvMsg(answer)
	return answer.Size, err
}

func output(parameters ...*responseParameters) ([]int, error) {
	ctx, cancel := within(patience)
	defer cancel()
	stream, err := open(ctx, "StreamingOutputCall")
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(&outputRequest{Parameters: parameters}); err != nil {
		return nil, err
	}
	stream.CloseSend()
	return sizes(stream)
}

func emptyUnary() error { return unary(service+"EmptyCall", &empty{}, &empty{}) }

func largeUnary() error { return answeredLarge(large()) }

func clientCompressedUnary() error {
	lie, truth, plain := large(), large(), large()
	lie.ExpectCompressed = &boolValue{Value: true}
	truth.ExpectCompressed = &boolValue{Value: true}
	plain.ExpectCompressed = &boolValue{Value: false}
	return all(
		func() error {
			return expectCode(unary(service+"UnaryCall", lie, &simpleResponse{}), codes.InvalidArgument)
		},
		func() error { return answeredLarge(truth, grpc.UseCompressor(gzip.Name)) },
		func() error { return answeredLarge(plain) })
}

func serverCompressedUnary() error {
	yes, no := large(), large()
	yes.ResponseCompressed = &boolValue{Value: true}
	no.ResponseCompressed = &boolValue{Value: false}
	return all(func() error { return answeredLarge(yes) }, func() error { return answeredLarge(no) })
}

func clientStreaming() error {
	sum, err := collect(false, streamRequests)
	if err != nil {
		return err
	}
	return expect("sum", sum, int32(74922))
}

func clientCompressedStreaming() error {
	_, err := collect(true, []int{27182})
	if err := expectCode(err, codes.InvalidArgument); err != nil {
		return err
	}
	sum, err := collect(true, []int{27182, 45904}, grpc.UseCompressor(gzip.Name))
	if err != nil {
		return err
	}
	return expect("sum", sum, int32(73086))
}

func serverStreaming() error {
	var parameters []*responseParameters
	for _, n := range streamResponses {
		parameters = append(parameters, &responseParameters{Size: int32(n)})
	}
	got, err := output(parameters...)
	if err != nil {
		return err
	}
	return expect("sizes", got, streamResponses)
}

func serverCompressedStreaming() error {
	got, err := output(
		&responseParameters{Size: 31415, Compressed: &boolValue{Value: true}},
		&responseParameters{Size: 92653, Compressed: &boolValue{Value: false}},
		&responseParameters{Size: 58979, Compressed: &boolValue{Value: true}})
	if err != nil {
		return err
	}
	return expect("sizes", got, []int{31415, 92653, 58979})
}

func talk(requests, responses []int) error {
	ctx, cancel := within(patience)
	defer cancel()
	stream, err := open(ctx, "FullDuplexCall")
	for i := 0; err == nil && i < len(requests); i++ {
		err = exchange(stream, requests[i], responses[i])
	}
	if err != nil {
		return err
	}
	stream.CloseSend()
	rest, err := sizes(stream)
	if err != nil {
		return err
	}
	return expect("answers that are left", len(rest), 0)
}

func pingPong() error { return talk(streamRequests, streamResponses) }

func emptyStream() error { return talk(nil, nil) }

func halfDuplex() error {
	ctx, cancel := within(patience)
	defer cancel()
	stream, err := open(ctx, "HalfDuplexCall")
	for _, n := range streamResponses {
		if err == nil {
			err = stream.SendMsg(ask(0, n))
		}
	}
	if err != nil {
		return err
	}
	stream.CloseSend()
	got, err := sizes(stream)
	if err != nil {
		return err
	}
	return expect("sizes", got, streamResponses)
}

func cameBack(header, trailer metadata.MD) error {
	return all(
		func() error {
			return expect(initialName, header.Get(initialName), []string{"test_initial_metadata_value"})
		},
		func() error { return expect(trailingName, trailer.Get(trailingName), []string{"\xab\xab\xab"}) })
}

func customMetadata() error {
	ctx, cancel := within(patience, initialName, "test_initial_metadata_value", trailingName, "\xab\xab\xab")
	defer cancel()
	var header, trailer metadata.MD
	err := conn.Invoke(ctx, service+"UnaryCall", large(), &simpleResponse{}, grpc.Header(&header),
		grpc.Trailer(&trailer))
	if err == nil {
		err = cameBack(header, trailer)
	}
	if err != nil {
		return err
	}
	stream, err := open(ctx, "FullDuplexCall")
	if err == nil {
		err = exchange(stream, largeRequest, largeResponse)
	}
	if err != nil {
		return err
	}
	stream.CloseSend()
	if _, err = sizes(stream); err != nil {
		return err
	}
	if header, err = stream.Header(); err != nil {
		return err
	}
	return cameBack(header, stream.Trailer())
}

func endsWith(message string) error {
	wanted := &echoStatus{Code: int32(codes.Unknown), Message: message}
	err := unary(service+"UnaryCall", &simpleRequest{ResponseStatus: wanted}, &simpleResponse{})
	if err := expectCode(err, codes.Unknown); err != nil {
		return err
	}
	return expect("message", status.Convert(err).Message(), message)
}

func statusCodeAndMessage() error {
	if err := endsWith("test status message"); err != nil {
		return err
	}
	ctx, cancel := within(patience)
	defer cancel()
	stream, err := open(ctx, "FullDuplexCall")
	if err != nil {
		return err
	}
	wanted := &echoStatus{Code: int32(codes.Unknown), Message: "test status message"}
	if err := stream.SendMsg(&outputRequest{ResponseStatus: wanted}); err != nil {
		return err
	}
	stream.CloseSend()
	_, err = sizes(stream)
	if err := expectCode(err, codes.Unknown); err != nil {
		return err
	}
	return expect("message", status.Convert(err).Message(), wanted.Message)
}

func specialStatusMessage() error {
	return endsWith("\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n")
}

func unimplementedMethod() error {
	return expectCode(unary(service+"UnimplementedCall", &empty{}, &empty{}), codes.Unimplemented)
}

func unimplementedService() error {
	err := unary("/grpc.testing.UnimplementedService/UnimplementedCall", &empty{}, &empty{})
	return expectCode(err, codes.Unimplemented)
}

func cancelAfterBegin() error {
	ctx, cancel := within(patience)
	stream, err := open(ctx, "StreamingInputCall")
	cancel()
	if err != nil {
		return err
	}
	return expectCode(stream.RecvMsg(&inputResponse{}), codes.Canceled)
}

func cancelAfterFirstResponse() error {
	ctx, cancel := within(patience)
	defer cancel()
	stream, err := open(ctx, "FullDuplexCall")
	if err == nil {
		err = exchange(stream, 27182, 31415)
	}
	if err != nil {
		return err
	}
	cancel()
	return expectCode(stream.RecvMsg(&simpleResponse{}), codes.Canceled)
}

func timeoutOnSleepingServer() error {
	ctx, cancel := within(time.Millisecond)
	defer cancel()
	stream, err := open(ctx, "FullDuplexCall")
	if err == nil {
		request := ask(27182, 31415)
		request.Parameters[0].IntervalUs = 50 * 1000 * 1000
		if err = stream.SendMsg(request); err == nil || err == io.EOF {
			err = stream.RecvMsg(&simpleResponse{})
		}
	}
	return expectCode(err, codes.DeadlineExceeded)
}

func concurrentLargeUnary() error {
	failures := make(chan error, 300)
	var workers sync.WaitGroup
	for i := 0; i < 300; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			if err := largeUnary(); err != nil {
				failures <- err
			}
		}()
	}
	workers.Wait()
	close(failures)
	return <-failures
}

func main() {
	if len(os.Args) < 2 {
		die(fmt.Errorf("usage: interop ADDRESS [CA [CERTIFICATE KEY [TOKEN]]]"))
	}
	if s, err := strconv.ParseFloat(os.Getenv("LATENTD_PATIENCE_S"), 64); err == nil {
		patience = time.Duration(s * float64(time.Second))
	}
	dial(os.Args[1:])
	cases := []struct {
		name string
		run  func() error
	}{
		{"empty_unary", emptyUnary},
		{"large_unary", largeUnary},
		{"client_compressed_unary", clientCompressedUnary},
		{"server_compressed_unary", serverCompressedUnary},
		{"client_streaming", clientStreaming},
		{"client_compressed_streaming", clientCompressedStreaming},
		{"server_streaming", serverStreaming},
		{"server_compressed_streaming", serverCompressedStreaming},
		{"ping_pong", pingPong},
		{"empty_stream", emptyStream},
		{"half_duplex", halfDuplex},
		{"custom_metadata", customMetadata},
		{"status_code_and_message", statusCodeAndMessage},
		{"special_status_message", specialStatusMessage},
		{"unimplemented_method", unimplementedMethod},
		{"unimplemented_service", unimplementedService},
		{"cancel_after_begin", cancelAfterBegin},
		{"cancel_after_first_response", cancelAfterFirstResponse},
		{"timeout_on_sleeping_server", timeoutOnSleepingServer},
		{"concurrent_large_unary", concurrentLargeUnary},
	}
	failed := 0
	for i, c := range cases {
		if err := c.run(); err != nil {
			failed++
			fmt.Printf("not ok %d - %s\n# %v\n", i+1, c.name, err)
		} else {
			fmt.Printf("ok %d - %s\n", i+1, c.name)
		}
	}
	fmt.Printf("1..%d\n", len(cases))
	if failed > 0 {
		os.Exit(1)
	}
}
