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
    /// <summary>How long one goes on, and its result is kept, without a question. A minute: a peer asks every 3 s.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    /// <summary>Of a volume's damaged fragments no more are told; the next pass tells of those that are left.</summary>
    public const int MaxDamaged = 1 << 20;

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
            if (_current.TryGetValue(drive, out Verification? current) && (current.Attempt != question.Attempt || current.Verifier != verifier))
            {
                if (IsWanted(current, verifier))
                    return (VerificationState.UnderWay, null);
                End(drive, current);
                current = null;
            }

            if (current is null)
            {
                CancellationTokenSource stop = new();
                current = new Verification(question.Attempt, verifier, stop, verifier.VerifyVolumeAsync(question.VolumeId, question.BytesPerSecond, stop.Token).AsTask());
                _current.Add(drive, current);
                Verification begun = current;
                current.Expiry = time.CreateTimer(_ => Expire(drive, begun), null, Patience, Timeout.InfiniteTimeSpan);
            }

            current.AskedAt = time.GetTimestamp();
            current.Expiry!.Change(Patience, Timeout.InfiniteTimeSpan);
            running = current.Running;
            if (!running.IsCompleted)
                return (VerificationState.UnderWay, null);
            if (!running.IsCompletedSuccessfully)
                End(drive, current);
            else if (running.Result is not { } done || Math.Min(done.Damaged.Count, MaxDamaged) - question.FirstDamaged <= FragmentProtocol.MaxEntriesPerList)
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

    /// <summary>Whether its peer is to be told of it yet. What it reads is the drive as it was opened then.</summary>
    private bool IsWanted(Verification current, IVolumeVerifier verifier)
        => current.Verifier == verifier && !current.IsTold && !current.Running.IsFaulted && time.GetElapsedTime(current.AskedAt) < Patience;

    private void Expire(Guid drive, Verification of)
    {
        lock (_lock)
        {
            if (!_current.TryGetValue(drive, out Verification? current) || !ReferenceEquals(current, of))
                return;

            // A question may have come while this waited for the lock; and a timer may fire some milliseconds early by the clock that is asked here.
            TimeSpan left = Patience - time.GetElapsedTime(current.AskedAt);
            if (left <= TimeSpan.Zero)
                End(drive, current);
            else
                current.Expiry!.Change(left + TimeSpan.FromMilliseconds(10), Timeout.InfiniteTimeSpan);
        }
    }

    private void End(Guid drive, Verification current)
    {
        _current.Remove(drive);
        current.Expiry!.Dispose();
        current.Stop.Cancel();

        // Nobody else looks at how it ended.
        _ = current.Running.ContinueWith(static task => _ = task.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
    }

    /// <param name="stop">Not disposed of: it has no timer, and the verification may still look at it.</param>
    private sealed class Verification(UInt128 attempt, IVolumeVerifier verifier, CancellationTokenSource stop, Task<VolumeVerification?> running)
    {
        public UInt128 Attempt { get; } = attempt;

        public IVolumeVerifier Verifier { get; } = verifier;

        public CancellationTokenSource Stop { get; } = stop;

        public Task<VolumeVerification?> Running { get; } = running;

        public ITimer? Expiry { get; set; }

        public long AskedAt { get; set; }

        public bool IsTold { get; set; }
    }
}
