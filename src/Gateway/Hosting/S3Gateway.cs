using System.Diagnostics;
using System.Globalization;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using ObjectStore.Gateway.Buckets;
using ObjectStore.Gateway.Multipart;
using ObjectStore.Gateway.Objects;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Routing;
using ObjectStore.S3.Signing;
using QueryString = ObjectStore.S3.Routing.QueryString;

namespace ObjectStore.Gateway;

/// <summary>
/// Turns an HTTP request into one S3 operation: route, verify the signature, run the operation's handler, and turn whatever it throws into S3's error.
/// It is the only place that does the last. Thread-safe.
/// </summary>
public sealed partial class S3Gateway
{
    private readonly GatewayServices _services;
    private readonly SigV4Verifier _verifier;
    private readonly ILogger<S3Gateway> _logger;
    private readonly string[] _domains;
    private readonly ulong _requestIdBase;
    private long _requests;

    /// <summary>Creates the gateway.</summary>
    public S3Gateway(GatewayServices services, ICredentialStore credentials, ILogger<S3Gateway> logger)
    {
        _services = services;
        _logger = logger;
        _domains = [.. services.Options.Domains];
        _verifier = new SigV4Verifier(credentials, services.Time);
        _requestIdBase = services.NewVersionId().Low;
    }

    /// <summary>Handles one request to its end.</summary>
    public async Task HandleAsync(HttpContext http)
    {
        long started = Stopwatch.GetTimestamp();
        string requestId = NextRequestId();
        http.Response.Headers["x-amz-request-id"] = requestId;
        S3Request request = new(http, _services, requestId);
        using Activity? activity = GatewayMetrics.Source.HasListeners() ? GatewayMetrics.Source.StartActivity("S3", ActivityKind.Server) : null;
        try
        {
            // An empty body is never read, so no "100 Continue" goes out; botocore then takes the next response on the connection for this one.
            if (http.Request.ContentLength == 0 && http.Request.Headers.Expect.Count > 0) http.Response.Headers.Connection = "close";
            await Dispatch(request);
        }
        catch (Exception e)
        {
            await FailAsync(request, e);
        }

        GatewayMetrics.Record(request.Operation, http.Response.StatusCode, Stopwatch.GetElapsedTime(started));
        if (activity is not null)
        {
            activity.DisplayName = request.Operation.ToString();
            activity.SetTag("s3.request_id", requestId);
            activity.SetTag("http.response.status_code", http.Response.StatusCode);
        }

        if (_logger.IsEnabled(LogLevel.Debug))
        {
            LogRequest(requestId, http.Request.Method, request.Operation, http.Response.StatusCode, Stopwatch.GetElapsedTime(started).TotalMilliseconds);
        }
    }

    private Task Dispatch(S3Request request)
    {
        HttpContext http = request.Http;
        string target = request.RawTarget;
        if (!S3Address.TryParse(http.Request.Headers.Host, target, _domains, out S3Address address, out S3Error? error)) throw new S3Exception(error!);
        request.Address = address;
        int queryStart = target.IndexOf('?', StringComparison.Ordinal);
        if (!QueryString.TryParse(queryStart < 0 ? "" : target[(queryStart + 1)..], out QueryString query, out error)) throw new S3Exception(error!);
        request.Query = query;
        if (!S3Router.TryRoute(http.Request.Method, address, query, http.Request.Headers.ContainsKey("x-amz-copy-source"), out S3Operation operation, out S3Error? routeError))
        {
            throw new S3Exception(routeError!);
        }

        request.Operation = operation;
        request.Signature = _verifier.Verify(new SigV4Request
        {
            Method = http.Request.Method,
            RawPath = S3Address.RawPathOf(target),
            RawQuery = query.Raw,
            Headers = request,
        });
        if (request.Signature.Error is { } refused) throw new S3Exception(refused);
        return operation switch
        {
            S3Operation.ListBuckets => ListBuckets.HandleAsync(request),
            S3Operation.CreateBucket => CreateBucket.HandleAsync(request),
            S3Operation.HeadBucket => HeadBucket.HandleAsync(request),
            S3Operation.GetBucketLocation => GetBucketLocation.HandleAsync(request),
            S3Operation.DeleteBucket => DeleteBucket.HandleAsync(request),
            S3Operation.PutObject => PutObject.HandleAsync(request),
            S3Operation.GetObject => GetObject.HandleAsync(request, withBody: true),
            S3Operation.HeadObject => GetObject.HandleAsync(request, withBody: false),
            S3Operation.DeleteObject => DeleteObject.HandleAsync(request),
            S3Operation.DeleteObjects => DeleteObjects.HandleAsync(request),
            S3Operation.CopyObject => CopyObject.HandleAsync(request),
            S3Operation.ListObjects => ListObjects.HandleV1Async(request),
            S3Operation.ListObjectsV2 => ListObjects.HandleV2Async(request),
            S3Operation.CreateMultipartUpload => CreateMultipartUpload.HandleAsync(request),
            S3Operation.UploadPart => UploadPart.HandleAsync(request),
            S3Operation.UploadPartCopy => UploadPartCopy.HandleAsync(request),
            S3Operation.ListParts => ListParts.HandleAsync(request),
            S3Operation.ListMultipartUploads => ListMultipartUploads.HandleAsync(request),
            S3Operation.CompleteMultipartUpload => CompleteMultipartUpload.HandleAsync(request),
            S3Operation.AbortMultipartUpload => AbortMultipartUpload.HandleAsync(request),
            _ => throw new S3Exception(S3Error.NotImplemented($"{operation} is not implemented.")),
        };
    }

    private async Task FailAsync(S3Request request, Exception exception)
    {
        HttpContext http = request.Http;
        if (request.Aborted.IsCancellationRequested && (exception is OperationCanceledException or ConnectionResetException or IOException))
        {
            http.Abort();
            return;
        }

        S3Error error = Faults.ToS3Error(exception);
        if (error.Code.HttpStatus >= 500 && exception is not S3Exception) LogFault(request.RequestId, request.Operation, error.Code.Code, exception);
        if (http.Response.HasStarted)
        {
            // The status line is gone: the only honest end is to break the connection, so that no client takes what it got for the whole.
            LogTruncated(request.RequestId, request.Operation, exception);
            http.Abort();
            return;
        }

        IHeaderDictionary headers = http.Response.Headers;
        http.Response.Clear();
        headers["x-amz-request-id"] = request.RequestId;

        // A body that was not read to its end is in the way of the next request; Kestrel drains a short rest and closes otherwise.
        // And a client that still waits for "100 Continue" may or may not send the body after this answer.
        if (http.Request.ContentLength > 1 << 20 || http.Request.Headers.Expect.Count > 0 || Faults.LeavesBodyInDoubt(exception)) headers.Connection = "close";
        try
        {
            string resource = request.Address.HasBucket ? (request.Address.HasKey ? $"/{request.Bucket}/{request.Key}" : $"/{request.Bucket}") : "/";
            await S3Response.ErrorAsync(http, error.Resource is null ? error with { Resource = resource } : error, request.RequestId);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            http.Abort();
        }
    }

    private string NextRequestId() => (_requestIdBase + (ulong)Interlocked.Increment(ref _requests) * 0x9E3779B97F4A7C15UL).ToString("X16", CultureInfo.InvariantCulture);

    [LoggerMessage(1, LogLevel.Debug, "{RequestId} {Method} {Operation} answered {Status} in {ElapsedMs} ms")]
    private partial void LogRequest(string requestId, string method, S3Operation operation, int status, double elapsedMs);

    [LoggerMessage(2, LogLevel.Error, "{RequestId} {Operation} failed with {Code}")]
    private partial void LogFault(string requestId, S3Operation operation, string code, Exception exception);

    [LoggerMessage(3, LogLevel.Error, "{RequestId} {Operation} broke off after the response had begun; the connection is closed")]
    private partial void LogTruncated(string requestId, S3Operation operation, Exception exception);
}
