using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Tests.Extents;

namespace ObjectStore.Storage.Tests.Drives;

/// <summary>The threads on which a drive's operations run.</summary>
public sealed class DriveThreadsTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ReadThatHasNotBegun_EndsWhenItIsCancelled_AndItsMemoryIsLeftAlone()
    {
        var threads = new DriveThreads(threaded: true, TimeProvider.System);
        using var gate = new ManualResetEventSlim();
        using var begun = new CountdownEvent(32);
        using var cancellation = new CancellationTokenSource();
        Task[] running = [.. Enumerable.Range(0, 32).Select(_ => threads.ReadAsync(new byte[1], Block, cancellation.Token))];
        Assert.True(begun.Wait(TimeSpan.FromSeconds(20), Stop));
        byte[] memory = new byte[1];
        Task waiting = threads.ReadAsync(memory, Block, cancellation.Token);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        Assert.DoesNotContain(running, task => task.IsCompleted);
        gate.Set();
        await Task.WhenAll(running).WaitAsync(TimeSpan.FromSeconds(20), Stop);
        threads.Close();
        Assert.Equal(0, memory[0]);

        void Block(Memory<byte> destination)
        {
            if (!gate.IsSet)
                begun.Signal();
            gate.Wait();
            destination.Span[0] = 1;
        }
    }

    [Fact]
    public async Task OperationThatHasSomethingFromTheDriveAgainAndAgain_IsNotOneThatHangs()
    {
        var time = new ManualTime();
        var threads = new DriveThreads(threaded: true, time);
        using var asked = new SemaphoreSlim(0);
        using var answered = new SemaphoreSlim(0);
        Task<bool> work = threads.RunAsync(() =>
        {
            for (int i = 0; i < 3; i++)
            {
                asked.Release();
                answered.Wait();
                DriveThreads.NoteProgress();
            }

            asked.Release();
            answered.Wait();
            return true;
        });
        for (int i = 0; i < 4; i++)
        {
            Assert.True(await asked.WaitAsync(TimeSpan.FromSeconds(20), Stop));
            Assert.Equal(TimeSpan.Zero, threads.BusyFor);
            time.Advance(TimeSpan.FromSeconds(20));
            Assert.Equal(TimeSpan.FromSeconds(20), threads.BusyFor);
            answered.Release();
        }

        Assert.True(await work);
        threads.Close();
    }
}
