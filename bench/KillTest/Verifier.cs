using System.Globalization;
using ObjectStore.LoadGenerator.Http;
using ObjectStore.LoadGenerator.Workloads;

namespace ObjectStore.KillTest;

/// <summary>Holds the restarted server against the model, and brings the model up to date with which side of each open question it finds.</summary>
public sealed class Verifier(KillTestOptions options, S3Endpoint endpoint, SigningIdentity identity, string bucket, KeyModel[] keys)
{
    private const int Threads = 8;

    private readonly List<string> _failures = [];
    private int _resolvedNew;
    private int _resolvedOld;
    private int _uploads;

    /// <summary>What is wrong; empty when nothing is.</summary>
    public IReadOnlyList<string> Failures => _failures;

    /// <summary>Unacknowledged operations that turned out to have happened.</summary>
    public int ResolvedNew => _resolvedNew;

    /// <summary>Unacknowledged operations that turned out not to have happened.</summary>
    public int ResolvedOld => _resolvedOld;

    /// <summary>Open uploads whose parts were checked.</summary>
    public int Uploads => _uploads;

    /// <summary>Checks everything.</summary>
    public void Run(int round)
    {
        ForEachKey(CheckObject);
        CheckListing(pageKeys: round % 2 == 0 ? 1000 : 7);

        // Last, because it completes uploads.
        ForEachKey(CheckUpload);
        if (_failures.Count == 0) CheckListing(pageKeys: 1000);
    }

    /// <summary>Reads every object, and nothing else: for a server that is not to change.</summary>
    public void ReadAll() => ForEachKey(CheckObject);

    private readonly Dictionary<string, (long SizeBytes, string ETag)> _seen = new(StringComparer.Ordinal);

    private void ForEachKey(Action<S3Client, KeyModel> check)
    {
        int next = 0;
        Thread[] threads = new Thread[Threads];
        for (int i = 0; i < Threads; i++)
        {
            threads[i] = new Thread(() =>
            {
                using S3Client client = new(endpoint, identity, bucket) { Patience = options.SlowDownPatience };
                int index;
                while ((index = Interlocked.Increment(ref next) - 1) < keys.Length)
                {
                    try
                    {
                        check(client, keys[index]);
                    }
                    catch (Exception exception) when (exception is IOException or System.Net.Sockets.SocketException)
                    {
                        Fail($"{keys[index].Key}: {exception.Message}");
                        return;
                    }
                }
            });
            threads[i].Start();
        }

        foreach (Thread thread in threads) thread.Join();
    }

    private void CheckObject(S3Client client, KeyModel key)
    {
        KeyState[] allowed = key.Pending is { } pending ? [key.Acknowledged, pending] : [key.Acknowledged];
        KeyState? found = Read(client, key, allowed);
        if (found is null) return;
        if (key.Pending is not null)
        {
            if (found == key.Pending) Interlocked.Increment(ref _resolvedNew);
            else Interlocked.Increment(ref _resolvedOld);
            if (key.Upload is { CompleteSent: true } && found == key.Pending) key.Upload = null;
        }

        key.Acknowledged = found.Value;
        key.Pending = null;
    }

    /// <summary>Reads one key by GET and HEAD; returns which of the allowed states it has, or null after reporting that it has none of them.</summary>
    private KeyState? Read(S3Client client, KeyModel key, KeyState[] allowed)
    {
        ulong?[] candidates = Array.ConvertAll(allowed, state => state.Exists ? Worker.Stream(options.Seed, key.Index, state.Generation) : (ulong?)null);
        Answer get = client.GetAndCompare(key.Key, candidates, out long size);
        Answer head = client.Send("HEAD", key.Key, "");
        if (get.Status != head.Status) Fail($"{key.Key}: GET answers {get.Status}, HEAD {head.Status}");
        lock (_seen) _seen.Remove(key.Key);
        if (get.Status == 404)
        {
            if (Array.Exists(allowed, state => !state.Exists)) return KeyState.Absent;
            Fail($"{key.Key}: LOST; expected {string.Join(" or ", allowed)}");
            return null;
        }

        if (get.Status != 200)
        {
            Fail($"{key.Key}: GET answers {get.Status} {get.Code}; expected {string.Join(" or ", allowed)}");
            return null;
        }

        if (head.ContentLength != size || head.ETag != get.ETag) Fail($"{key.Key}: HEAD says {head.ContentLength} {head.ETag}, GET gave {size} {get.ETag}");
        lock (_seen) _seen[key.Key] = (size, get.ETag);
        for (int i = 0; i < allowed.Length; i++)
        {
            if (allowed[i].Exists && allowed[i].SizeBytes == size && (candidates[i] is not null || size == 0)) return allowed[i];
        }

        Fail($"{key.Key}: TORN or wrong: {size} bytes that are neither of {string.Join(" or ", allowed)}");
        return null;
    }

    private void CheckListing(int pageKeys)
    {
        using S3Client client = new(endpoint, identity, bucket) { Patience = options.SlowDownPatience };
        Dictionary<string, (long SizeBytes, string ETag)> listed = new(StringComparer.Ordinal);
        string token = "";
        string? previous = null;
        do
        {
            string continuation = token.Length == 0 ? "" : $"continuation-token={Uri.EscapeDataString(token)}&";
            Answer answer = client.Send("GET", "", $"{continuation}list-type=2&max-keys={pageKeys}&prefix=kill%2F");
            if (answer.Status != 200)
            {
                Fail($"LIST answers {answer.Status} {answer.Code}");
                return;
            }

            List<string> names = Xml.Elements(answer.Body, "Key");
            List<string> sizes = Xml.Elements(answer.Body, "Size");
            List<string> etags = Xml.Elements(answer.Body, "ETag");
            for (int i = 0; i < names.Count; i++)
            {
                if (previous is not null && string.CompareOrdinal(previous, names[i]) >= 0) Fail($"LIST is out of order: {previous} before {names[i]}");
                previous = names[i];
                listed[names[i]] = (long.Parse(sizes[i], CultureInfo.InvariantCulture), etags[i]);
            }

            token = Xml.Element(answer.Body, "NextContinuationToken") ?? "";
        }
        while (token.Length > 0);

        foreach ((string name, (long SizeBytes, string ETag) value) in _seen)
        {
            if (!listed.Remove(name, out (long SizeBytes, string ETag) entry)) Fail($"{name}: GET finds it, LIST does not");
            else if (entry != value) Fail($"{name}: LIST says {entry}, GET gave {value}");
        }

        foreach (string name in listed.Keys) Fail($"{name}: LIST shows it, GET does not find it");
    }

    /// <summary>Every acknowledged part must be there, every other one absent or whole; the bytes are seen by completing the upload.</summary>
    private void CheckUpload(S3Client client, KeyModel key)
    {
        if (key.Upload is not { } upload) return;
        Interlocked.Increment(ref _uploads);
        string id = Uri.EscapeDataString(upload.UploadId);
        Answer answer = client.Send("GET", key.Key, $"uploadId={id}");
        key.Upload = null;
        if (answer.Status == 404 && upload.AbortSent) return;
        if (answer.Status != 200)
        {
            Fail($"{key.Key}: ListParts of an open upload answers {answer.Status} {answer.Code}");
            return;
        }

        // The first ETag-like elements of the document belong to the parts; it has no others.
        List<string> numbers = Xml.Elements(answer.Body, "PartNumber");
        List<string> sizes = Xml.Elements(answer.Body, "Size");
        List<string> etags = Xml.Elements(answer.Body, "ETag");
        Dictionary<int, (long SizeBytes, string ETag)> listed = [];
        for (int i = 0; i < numbers.Count; i++)
        {
            listed[int.Parse(numbers[i], CultureInfo.InvariantCulture)] = (long.Parse(sizes[i], CultureInfo.InvariantCulture), etags[i]);
        }

        List<(int Number, string ETag)> complete = [];
        long size = 0;
        foreach (SentPart part in upload.Parts)
        {
            if (!listed.Remove(part.Number, out (long SizeBytes, string ETag) entry))
            {
                if (part.ETag is not null) Fail($"{key.Key}: acknowledged part {part.Number} is lost");
                continue;
            }

            if (entry.SizeBytes != part.SizeBytes || (part.ETag is not null && part.ETag != entry.ETag))
            {
                Fail($"{key.Key}: part {part.Number} is {entry.SizeBytes} bytes {entry.ETag}; sent were {part.SizeBytes} bytes {part.ETag}");
            }

            complete.Add((part.Number, entry.ETag));
            size += entry.SizeBytes;
        }

        foreach (int number in listed.Keys) Fail($"{key.Key}: part {number} was never sent");
        if (complete.Count == 0)
        {
            Answer abort = client.Send("DELETE", key.Key, $"uploadId={id}");
            if (abort.Status != 204 && !(upload.AbortSent && abort.Status == 404)) Fail($"{key.Key}: abort answers {abort.Status} {abort.Code}");
            return;
        }

        answer = client.Send("POST", key.Key, $"uploadId={id}", Worker.CompleteBody(complete));
        if (answer.Status != 200 || answer.Code is not null)
        {
            Fail($"{key.Key}: completing a surviving upload answers {answer.Status} {answer.Code}");
            return;
        }

        KeyState state = upload.Target with { SizeBytes = size };
        if (Read(client, key, [state]) is not null) key.Acknowledged = state;
    }

    private void Fail(string failure)
    {
        lock (_failures) _failures.Add(failure);
    }
}
