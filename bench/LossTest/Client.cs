using ObjectStore.KillTest;
using ObjectStore.LoadGenerator.Http;

namespace ObjectStore.LossTest;

/// <summary>What clients met. Thread-safe.</summary>
public sealed class Findings
{
    private const int Kept = 40;
    private readonly Lock _lock = new();
    private readonly List<string> _failures = [];
    private long _failureCount;

    public long Reads;
    public long Writes;
    public long SlowDowns;

    public long FailureCount => Interlocked.Read(ref _failureCount);

    public IReadOnlyList<string> Failures
    {
        get
        {
            lock (_lock) return [.. _failures];
        }
    }

    public void Fail(string what)
    {
        Interlocked.Increment(ref _failureCount);
        lock (_lock)
        {
            if (_failures.Count < Kept) _failures.Add(what);
        }
    }
}

/// <summary>One client with one connection. A 503 SlowDown is waited out; every other failure counts.</summary>
public sealed class Client(S3Endpoint endpoint, SigningIdentity identity, string bucket, Findings findings) : IDisposable
{
    private static readonly TimeSpan GiveUp = TimeSpan.FromSeconds(60);
    private readonly S3Client _s3 = new(endpoint, identity, bucket);

    /// <summary>Reads an object whole and compares every byte.</summary>
    public bool Verify(string key, ulong stream, long sizeBytes, string when)
    {
        DateTime until = DateTime.UtcNow + GiveUp;
        while (true)
        {
            ulong?[] candidates = [stream];
            Answer answer = _s3.GetAndCompare(key, candidates, out long read);
            Interlocked.Increment(ref findings.Reads);
            if (answer.Status == 503 && answer.Code == "SlowDown" && DateTime.UtcNow < until)
            {
                Wait();
                continue;
            }

            if (answer.Status == 200 && candidates[0] is not null && read == sizeBytes) return true;
            findings.Fail(answer.Status != 200 ? $"{when}: GET {key} ({sizeBytes} bytes): {answer.Status} {answer.Code}"
                : read != sizeBytes ? $"{when}: GET {key}: {read} bytes instead of {sizeBytes}" : $"{when}: GET {key} ({sizeBytes} bytes): WRONG BYTES");
            return false;
        }
    }

    public bool Put(string key, ulong stream, long sizeBytes, string when) => Send(() => _s3.PutContent(key, "", stream, 0, sizeBytes), $"{when}: PUT {key} ({sizeBytes} bytes)", 200);

    public bool Delete(string key, string when) => Send(() => _s3.Send("DELETE", key, ""), $"{when}: DELETE {key}", 204);

    public bool CreateBucket() => Send(() => _s3.Send("PUT", "", "", []), "creating the bucket", 200);

    public void Dispose() => _s3.Dispose();

    private bool Send(Func<Answer> send, string what, int expected)
    {
        DateTime until = DateTime.UtcNow + GiveUp;
        while (true)
        {
            Answer answer = send();
            Interlocked.Increment(ref findings.Writes);
            if (answer.Status == expected) return true;
            if (answer.Status == 503 && answer.Code == "SlowDown" && DateTime.UtcNow < until)
            {
                Wait();
                continue;
            }

            findings.Fail($"{what}: {answer.Status} {answer.Code}");
            return false;
        }
    }

    private void Wait()
    {
        Interlocked.Increment(ref findings.SlowDowns);
        Thread.Sleep(50);
    }
}
