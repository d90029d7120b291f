using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Storage.Transport;

/// <summary>A peer's question after the verification of a volume, which begins with the first question of an attempt.</summary>
/// <param name="Attempt">Random, the peer's: all questions of one verification have the same.</param>
/// <param name="BytesPerSecond">Of the first question counts; 0 has no limit.</param>
/// <param name="FirstDamaged">How many of the damaged fragments the peer has been told of.</param>
internal readonly record struct VerificationQuestion(UInt128 Attempt, long VolumeId, long BytesPerSecond, int FirstDamaged);

/// <summary>How far a verification is.</summary>
internal enum VerificationState : byte
{
    /// <summary>There is no such volume, or none that can be verified.</summary>
    NoVolume = 0,

    /// <summary>It goes on, or waits for that of another peer.</summary>
    UnderWay = 1,

    Done = 2,
}

/// <summary>
/// The verifications that peers have asked this node for. One takes as long as its rate wants, which is longer than a request may: it goes on between the questions, and ends when nobody has
/// asked for <see cref="Patience"/>. One at a time for a drive. Thread-safe.
/// </summary>
internal sealed class VolumeVerifications(TimeProvider time) : IDisposable
{
    /// <summary>How long one goes on, and its result is kept, without a question. Default a minute: a peer asks every 5 s.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    private readonly Lock _lock = new();
    private readonly Dictionary<Guid, Verification> _current = []; // of drives that exist: bounded by their number
    private bool _disposed;

    /// <summary>Begins, or tells how it stands; the result where it is done. Whoever is told the last of it leaves the drive to the next.</summary>
    /// <exception cref="StorageException">What the drive said; the next question begins anew.</exception>
    public (VerificationState State, VolumeVerification? Result) Ask(Guid drive, IVolumeVerifier verifier, VerificationQuestion question)
    {
        Task<VolumeVerification?> running;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_current.TryGetValue(drive, out Verification? current) && current.Attempt != question.Attempt)
            {
                if (!current.IsTold)
                    return (VerificationState.UnderWay, null);
                End(drive, current);
                current = null;
            }

            if (current is null)
            {
                current = new Verification(question.Attempt);
                _current.Add(drive, current);
                Verification begun = current;
                current.Expiry = time.CreateTimer(_ => Expire(drive, begun), null, Patience, Timeout.InfiniteTimeSpan);
                current.Running = verifier.VerifyVolumeAsync(question.VolumeId, question.BytesPerSecond, current.Stop.Token).AsTask();
            }

            current.AskedAt = time.GetTimestamp();
            current.Expiry!.Change(Patience, Timeout.InfiniteTimeSpan);
            running = current.Running!;
            if (!running.IsCompleted)
                return (VerificationState.UnderWay, null);
            if (!running.IsCompletedSuccessfully)
                End(drive, current);
            else if (running.Result is not { } done || done.Damaged.Count - question.FirstDamaged <= FragmentProtocol.MaxEntriesPerList)
                current.IsTold = true;
        }

        // Throws what it met.
        VolumeVerification? result = running.GetAwaiter().GetResult();
        return (result is null ? VerificationState.NoVolume : VerificationState.Done, result);
    }

    /// <summary>Ends them all; does not wait for the steps under way, which their drives do when they close.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
            foreach ((Guid drive, Verification current) in _current.ToArray())
                End(drive, current);
        }
    }

    private void Expire(Guid drive, Verification of)
    {
        lock (_lock)
        {
            // A question may have come while this waited for the lock.
            if (_current.TryGetValue(drive, out Verification? current) && ReferenceEquals(current, of) && time.GetElapsedTime(current.AskedAt) >= Patience)
                End(drive, current);
        }
    }

    private void End(Guid drive, Verification current)
    {
        _current.Remove(drive);
        current.Expiry!.Dispose();
        current.Stop.Cancel();

        // Nobody else looks at how it ended.
        _ = current.Running!.ContinueWith(static task => _ = task.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
    }

    private sealed class Verification(UInt128 attempt)
    {
        public UInt128 Attempt { get; } = attempt;

        // Not disposed of: it has no timer, and the verification may still look at it.
        public CancellationTokenSource Stop { get; } = new();

        public Task<VolumeVerification?>? Running { get; set; }

        public ITimer? Expiry { get; set; }

        public long AskedAt { get; set; }

        public bool IsTold { get; set; }
    }
}
