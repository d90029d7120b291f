using System.Globalization;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Primitives;
using ObjectStore.Grains;
using ObjectStore.S3.Conditions;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Routing;
using ObjectStore.S3.Signing;
using ObjectStore.S3.Xml;
using ObjectStore.Storage.Extents;
using Orleans;
using QueryString = ObjectStore.S3.Routing.QueryString;

namespace ObjectStore.Gateway;

/// <summary>What every operation works with: the planes behind the gateway, the clock and the settings. One per process; thread-safe.</summary>
public sealed class GatewayServices(
    IGrainFactory grains, IExtentStore extents, TimeProvider time, Func<(ulong High, ulong Low)> nextRandom, GatewayOptions options)
{
    private readonly SemaphoreSlim _buffers = new(options.MaxBufferedBodies);
    private int _streams;
    private long _documentBytes;

    /// <summary>The metadata plane.</summary>
    public IGrainFactory Grains => grains;

    /// <summary>The data plane.</summary>
    public IExtentStore Extents => extents;

    /// <summary>The clock.</summary>
    public TimeProvider Time => time;

    /// <summary>The settings.</summary>
    public GatewayOptions Options => options;

    /// <summary>A new version id, which is also an upload id.</summary>
    public VersionId NewVersionId() => VersionId.Create(time.GetUtcNow(), nextRandom());

    /// <summary>Admits a body that streams through block buffers, or refuses with SlowDown: memory for them is bounded.</summary>
    public StreamTicket AdmitStream()
    {
        if (Interlocked.Increment(ref _streams) > options.MaxConcurrentStreams)
        {
            Interlocked.Decrement(ref _streams);
            throw new S3Exception(S3ErrorCode.SlowDown);
        }

        return new StreamTicket(this);
    }

    /// <summary>Waits for one of the buffers that small bodies are gathered in.</summary>
    public async ValueTask<BufferTicket> AdmitBufferAsync(CancellationToken cancellationToken)
    {
        await _buffers.WaitAsync(cancellationToken);
        return new BufferTicket(_buffers);
    }

    /// <summary>Takes room for an XML body, piece by piece as it arrives: one that is promised and does not come holds up nobody.</summary>
    public DocumentTicket AdmitDocument() => new(this);

    /// <summary>Held while an XML body is in memory. Belongs to one request; not thread-safe.</summary>
    public sealed class DocumentTicket(GatewayServices owner) : IDisposable
    {
        private long _bytes;

        /// <summary>Takes room for so many bytes more, or refuses with SlowDown.</summary>
        public void Add(int bytes)
        {
            _bytes += bytes;
            if (Interlocked.Add(ref owner._documentBytes, bytes) > owner.Options.MaxXmlBytes) throw new S3Exception(S3ErrorCode.SlowDown);
        }

        /// <inheritdoc/>
        public void Dispose() => Interlocked.Add(ref owner._documentBytes, -_bytes);
    }

    /// <summary>Held while a body is in memory.</summary>
    public readonly struct BufferTicket(SemaphoreSlim owner) : IDisposable
    {
        /// <inheritdoc/>
        public void Dispose() => owner.Release();
    }

    /// <summary>Held while a body streams.</summary>
    public readonly struct StreamTicket(GatewayServices owner) : IDisposable
    {
        /// <inheritdoc/>
        public void Dispose() => Interlocked.Decrement(ref owner._streams);
    }
}

/// <summary>One S3 request: what it addresses, what it asks, who signed it. Belongs to one request; not thread-safe.</summary>
internal sealed class S3Request(HttpContext http, GatewayServices services, string requestId) : ISigV4Headers
{
    public HttpContext Http => http;

    public GatewayServices Services => services;

    /// <summary>The id in the response's headers, in its error document and on every log line.</summary>
    public string RequestId => requestId;

    public S3Operation Operation { get; set; }

    public S3Address Address { get; set; }

    public QueryString Query { get; set; }

    public SigV4Result Signature { get; set; }

    public string Bucket => Address.Bucket!;

    public string Key => Address.Key!;

    /// <summary>Ends when the client is gone or the server stops.</summary>
    public CancellationToken Aborted => http.RequestAborted;

    public string RawTarget => http.Features.Get<IHttpRequestFeature>()!.RawTarget;

    /// <summary>A header by its name, or null; several values are joined with a comma.</summary>
    public string? Header(string name) => http.Request.Headers.TryGetValue(name, out StringValues values) && values.Count > 0 ? values.ToString() : null;

    public S3Owner Owner => new(Signature.AccessKey, Signature.AccessKey);

    public IObjectGrain ObjectGrain(BucketId bucket, string key) => services.Grains.GetGrain<IObjectGrain>(GrainKeys.Object(bucket, key));

    /// <summary>The addressed bucket; NoSuchBucket when there is none.</summary>
    public Task<BucketInfo> RequireBucketAsync() => RequireBucketAsync(Bucket);

    /// <summary>A bucket by name; NoSuchBucket when there is none.</summary>
    public async Task<BucketInfo> RequireBucketAsync(string name)
    {
        if (!BucketName.IsValid(name)) throw new S3Exception(S3Error.InvalidBucketName(name));
        return await services.Grains.GetGrain<IBucketGrain>(name).GetAsync() ?? throw new S3Exception(S3Error.NoSuchBucket(name));
    }

    /// <summary>The conditions of a read or a write.</summary>
    public RequestConditions Conditions => new(Header("If-Match"), Header("If-None-Match"), Header("If-Modified-Since"), Header("If-Unmodified-Since"));

    /// <summary>A number from the query within limits; InvalidArgument otherwise.</summary>
    public int QueryInt32(string name, int defaultValue, int minimum, int maximum) =>
        Query.TryGetInt32(name, defaultValue, minimum, maximum, out int value, out S3Error? error) ? value : throw new S3Exception(error!);

    /// <summary>The upload the query names; NoSuchUpload when it cannot be one.</summary>
    public VersionId UploadId()
    {
        string text = Query.Get("uploadId") ?? "";
        return VersionId.TryParse(text, out VersionId id) ? id : throw new S3Exception(S3Error.NoSuchUpload(text));
    }

    /// <summary>The version the query names, or null. Only the null version exists in a bucket without versioning.</summary>
    public void RefuseUnknownVersion()
    {
        if (Query.Get("versionId") is not { } version || version == "null") return;
        throw new S3Exception(version.Length == 0
            ? S3Error.InvalidArgument("Version id cannot be the empty string", "versionId", version)
            : VersionId.TryParse(version, out _) ? S3Error.NoSuchVersion(Key, version) : S3Error.InvalidArgument("Invalid version id specified", "versionId", version));
    }

    string? ISigV4Headers.GetValue(string lowercaseName, int index) =>
        http.Request.Headers.TryGetValue(lowercaseName, out StringValues values) && index < values.Count ? values[index] : null;

    int ISigV4Headers.CopyAmzHeaderNames(Span<string> names)
    {
        int count = 0;
        foreach (KeyValuePair<string, StringValues> header in http.Request.Headers)
        {
            if (!header.Key.StartsWith("x-amz-", StringComparison.OrdinalIgnoreCase)) continue;
            if (count < names.Length) names[count] = header.Key;
            count++;
        }

        return count;
    }

    public static string HttpDate(long unixMs) => DateTimeOffset.FromUnixTimeMilliseconds(unixMs).ToString("r", CultureInfo.InvariantCulture);
}
