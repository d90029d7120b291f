using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Tests.Extents;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Storage.Tests.Transport;

public sealed class VolumeVerificationsTests
{
    private static readonly Guid Drive = Guid.NewGuid();
    private readonly ManualTime _time = new();
    private readonly Verifier _verifier = new();

    [Fact]
    public async Task Verification_GoesOnBetweenQuestions_AndIsToldTwice()
    {
        using VolumeVerifications verifications = new(_time);
        Assert.Equal(VerificationState.UnderWay, Ask(verifications, 1));
        for (int i = 0; i < 5; i++)
        {
            _time.Advance(VolumeVerifications.Patience * 0.9);
            Assert.Equal(VerificationState.UnderWay, Ask(verifications, 1));
        }

        await _verifier.EndAsync(0, Intact);
        Assert.Equal(VerificationState.Done, Ask(verifications, 1));
        Assert.Equal(VerificationState.Done, Ask(verifications, 1)); // the first answer may have been lost
        Assert.Single(_verifier.Begun);
    }

    [Fact]
    public async Task Verification_NobodyAsksFor_Ends()
    {
        using VolumeVerifications verifications = new(_time);
        Ask(verifications, 1);
        _time.Advance(VolumeVerifications.Patience);
        await _verifier.CancelledAsync(0);
        Assert.Equal(VerificationState.UnderWay, Ask(verifications, 2));
        Assert.Equal(2, _verifier.Begun.Count);
    }

    [Fact]
    public async Task Verification_WhoseTimerFiresEarly_EndsAllTheSame()
    {
        using VolumeVerifications verifications = new(new LaggingTime(_time));
        Ask(verifications, 1);
        _time.Advance(VolumeVerifications.Patience);
        Assert.Equal(VerificationState.UnderWay, Ask(verifications, 2));
        Assert.Single(_verifier.Begun);
        _time.Advance(TimeSpan.FromMilliseconds(20));
        await _verifier.CancelledAsync(0);
    }

    [Fact]
    public async Task Verification_OfADriveThatWasClosed_HoldsNobodyUp()
    {
        using VolumeVerifications verifications = new(_time);
        Ask(verifications, 1);
        Verifier reopened = new();
        Assert.Equal(VerificationState.UnderWay, verifications.Ask(Drive, reopened, new VerificationQuestion(2, 5, 0, 0)).State);
        await _verifier.CancelledAsync(0);
        Assert.Single(reopened.Begun);
        await reopened.FailAsync(0, new DriveUnavailableException(Drive, "it hangs"));
        Assert.Equal(VerificationState.UnderWay, verifications.Ask(Drive, reopened, new VerificationQuestion(3, 5, 0, 0)).State);
        Assert.Equal(2, reopened.Begun.Count);
    }

    [Fact]
    public async Task Verification_OfAnotherPeer_BeginsWhenTheFirstHasBeenTold()
    {
        using VolumeVerifications verifications = new(_time);
        Ask(verifications, 1);
        Assert.Equal(VerificationState.UnderWay, Ask(verifications, 2));
        await _verifier.EndAsync(0, Intact);
        Assert.Equal(VerificationState.UnderWay, Ask(verifications, 2)); // the result is not his
        Assert.Single(_verifier.Begun);
        Assert.Equal(VerificationState.Done, Ask(verifications, 1));
        Assert.Equal(VerificationState.UnderWay, Ask(verifications, 2));
        Assert.Equal(2, _verifier.Begun.Count);
        await _verifier.EndAsync(1, null);
        Assert.Equal(VerificationState.NoVolume, Ask(verifications, 2));
    }

    [Fact]
    public async Task Verification_WithMoreToTellThanAnAnswerHolds_IsKeptUntilAllIsTold()
    {
        FragmentEntry[] damaged = [.. Enumerable.Range(0, FragmentProtocol.MaxEntriesPerList + 1).Select(i => new FragmentEntry(default, i, 1, i))];
        using VolumeVerifications verifications = new(_time);
        Ask(verifications, 1);
        await _verifier.EndAsync(0, Intact with { Damaged = damaged });
        Assert.Equal(VerificationState.Done, Ask(verifications, 1));
        Assert.Equal(VerificationState.UnderWay, Ask(verifications, 2));
        Assert.Equal(VerificationState.Done, Ask(verifications, 1, FragmentProtocol.MaxEntriesPerList));
        Ask(verifications, 2);
        Assert.Equal(2, _verifier.Begun.Count);
    }

    [Fact]
    public async Task Verification_ThatFailed_SaysSoOnce_AndThenBeginsAnew()
    {
        using VolumeVerifications verifications = new(_time);
        Ask(verifications, 1);
        await _verifier.FailAsync(0, new DriveUnavailableException(Drive, "it hangs"));
        Assert.Throws<DriveUnavailableException>(() => Ask(verifications, 1));
        Assert.Equal(VerificationState.UnderWay, Ask(verifications, 1));
        Assert.Equal(2, _verifier.Begun.Count);
    }

    [Fact]
    public async Task Drives_DoNotWaitForEachOther_AndAllEndWithTheNode()
    {
        VolumeVerifications verifications = new(_time);
        Ask(verifications, 1);
        verifications.Ask(Guid.NewGuid(), _verifier, new VerificationQuestion(2, 5, 0, 0));
        Assert.Equal(2, _verifier.Begun.Count);
        verifications.Dispose();
        await _verifier.CancelledAsync(0);
        await _verifier.CancelledAsync(1);
        Assert.Equal(0, _time.Timers);
        Assert.Throws<ObjectDisposedException>(() => Ask(verifications, 1));
    }

    private static VolumeVerification Intact => new(5, true, 1000, 3, []);

    private VerificationState Ask(VolumeVerifications verifications, int attempt, int firstDamaged = 0)
        => verifications.Ask(Drive, _verifier, new VerificationQuestion((UInt128)attempt, 5, 0, firstDamaged)).State;

    /// <summary>A clock that lags behind its timers, as the machine's may.</summary>
    private sealed class LaggingTime(TimeProvider inner) : TimeProvider
    {
        public override long TimestampFrequency => inner.TimestampFrequency;

        public override long GetTimestamp() => (inner.GetTimestamp() * 9999 / 10_000) - 1;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) => inner.CreateTimer(callback, state, dueTime, period);
    }

    /// <summary>Its verifications end when they are told to.</summary>
    private sealed class Verifier : IVolumeVerifier
    {
        private readonly List<(TaskCompletionSource<VolumeVerification?> End, CancellationToken Stop)> _begun = [];

        public IReadOnlyList<CancellationToken> Begun
        {
            get
            {
                lock (_begun)
                    return [.. _begun.Select(begun => begun.Stop)];
            }
        }

        public ValueTask<IReadOnlyList<SealedVolume>> ListSealedVolumesAsync(CancellationToken cancellationToken = default) => new([]);

        public ValueTask<VolumeVerification?> VerifyVolumeAsync(long volumeId, long bytesPerSecond = 0, CancellationToken cancellationToken = default)
        {
            TaskCompletionSource<VolumeVerification?> end = new();
            cancellationToken.Register(() => end.TrySetCanceled(cancellationToken));
            lock (_begun)
                _begun.Add((end, cancellationToken));
            return new(end.Task);
        }

        public Task EndAsync(int index, VolumeVerification? result) => FinishAsync(index, end => end.SetResult(result));

        public Task FailAsync(int index, Exception error) => FinishAsync(index, end => end.SetException(error));

        public Task CancelledAsync(int index) => FinishAsync(index, end => Assert.True(end.Task.IsCanceled));

        private Task FinishAsync(int index, Action<TaskCompletionSource<VolumeVerification?>> finish)
        {
            lock (_begun)
                finish(_begun[index].End);
            return Task.CompletedTask;
        }
    }
}
