using System.Net;
using System.Net.Sockets;
using ObjectStore.Storage;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Simulation;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Tests.Transport;

/// <summary>What happens to a node's drives when the node, the way to it or its word is not what it should be.</summary>
public sealed class RemoteStorageNodeTests
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Connect_WithAnotherSecret_IsRefused()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        StorageNodeRefusedException refused = await Assert.ThrowsAsync<StorageNodeRefusedException>(() => served.ConnectAsync(secret: ClusterSecret.Parse("not the secret of this cluster")));
        Assert.Contains("401", refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("not the secret", refused.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Connect_WithAClockThatIsWrong_IsRefused()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        StorageNodeRefusedException refused = await Assert.ThrowsAsync<StorageNodeRefusedException>(() => served.ConnectAsync(time: new ShiftedTime(TimeSpan.FromMinutes(-6))));
        Assert.Contains("clock", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Connect_ToANodeOfAnotherCluster_IsRefused()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        StorageNodeRefusedException refused = await Assert.ThrowsAsync<StorageNodeRefusedException>(() => served.ConnectAsync(new RemoteStorageNodeOptions { ClusterId = Guid.NewGuid() }));
        Assert.Contains(ServedDrives.ClusterId.ToString(), refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Connect_ToWhatIsNoStorageNode_GivesNoDrives()
    {
        // It answers, and with this cluster's secret it does not: what it says counts for nothing.
        await using ServedDrives served = await ServedDrives.StartAsync();
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        Task answer = Task.Run(async () =>
        {
            using TcpClient client = await listener.AcceptTcpClientAsync(Token);
            await client.GetStream().ReadAtLeastAsync(new byte[1000], 200, cancellationToken: Token);
            await client.GetStream().WriteAsync("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.objectstore.frame\r\nContent-Length: 4\r\n\r\nabcd"u8.ToArray(), Token);
        }, Token);
        await using RemoteStorageNode node = await RemoteStorageNode.ConnectAsync(
            new Uri($"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}"), ServedDrives.Secret, ServedDrives.Quick(), null, null, Token);
        Assert.Empty(node.Drives);
        Assert.False(node.IsReachable);
        await answer;
    }

    [Fact]
    public async Task Answer_ThatIsSignedAndCannotBe_SaysThatTheDriveIsUnavailable()
    {
        // "The drive is full", without the numbers that go with it.
        Guid drive = Guid.NewGuid();
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        Task serving = AcceptAsync();
        await using (RemoteStorageNode node = await RemoteStorageNode.ConnectAsync(
            new Uri($"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}"), ServedDrives.Secret, ServedDrives.Quick(), null, null, Token))
        {
            foreach (int length in (int[])[1000, 200_000])
            {
                DriveUnavailableException unavailable = await Assert.ThrowsAsync<DriveUnavailableException>(
                    () => Assert.Single(node.Drives).WriteAsync(Make.Copy(length), true, Token).AsTask().WaitAsync(Deadline, Token));
                Assert.Contains("cannot be", unavailable.Message, StringComparison.Ordinal);
            }
        }

        await stop.CancelAsync();
        await serving;

        async Task AcceptAsync()
        {
            List<Task> clients = [];
            try
            {
                while (true) clients.Add(ServeAsync(await listener.AcceptTcpClientAsync(stop.Token)));
            }
            catch (OperationCanceledException)
            {
                await Task.WhenAll(clients);
            }
        }

        async Task ServeAsync(TcpClient client)
        {
            using (client)
            {
                try
                {
                    while (true) await AnswerAsync(client.GetStream());
                }
                catch (Exception e) when (e is IOException or OperationCanceledException)
                {
                    // The node has been disposed of.
                }
            }
        }

        async Task AnswerAsync(NetworkStream stream)
        {
            List<byte> head = [];
            byte[] one = new byte[1];
            while (!head.ToArray().AsSpan().EndsWith("\r\n\r\n"u8))
            {
                await stream.ReadExactlyAsync(one, stop.Token);
                head.Add(one[0]);
            }

            string[] lines = System.Text.Encoding.ASCII.GetString([.. head]).Split("\r\n");
            byte[] body = new byte[int.Parse(lines.Single(line => line.StartsWith("Content-Length: ", StringComparison.OrdinalIgnoreCase))[16..], System.Globalization.CultureInfo.InvariantCulture)];
            await stream.ReadExactlyAsync(body, stop.Token);
            FrameHeader request = FrameHeader.Read(body);
            using FrameWriter frame = new();
            bool hello = request.Request == FragmentRequest.Hello;
            if (hello) FragmentCodec.WriteHello(frame, new NodeHello(1, ServedDrives.ClusterId, "node", "host", [drive]));
            ReadOnlyMemory<byte> answer = frame.Seal(
                request with { IsAnswer = true, Status = hello ? FragmentStatus.Ok : FragmentStatus.DriveFull, PayloadBytes = 0, Instance = 1 }, ServedDrives.Secret);
            await stream.WriteAsync(System.Text.Encoding.ASCII.GetBytes($"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.objectstore.frame\r\nContent-Length: {answer.Length}\r\n\r\n"), stop.Token);
            await stream.WriteAsync(answer, stop.Token);
        }
    }

    [Fact]
    public async Task Node_OfAnOlderBuild_IsAskedToReadInsteadOfReadOnce_AndHasNoVolumesToVerify()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        FragmentWrite fragment = Make.Copy(100_000);
        await served.Memory.WriteAsync(fragment, sync: true, Token);
        using FragmentServer server = new(ServedDrives.Options(), served, ServedDrives.Secret, TimeProvider.System);
        int port;
        using (TcpListener free = new(IPAddress.Loopback, 0))
        {
            free.Start();
            port = ((IPEndPoint)free.LocalEndpoint).Port;
        }

        using HttpListener older = new();
        older.Prefixes.Add($"http://127.0.0.1:{port}/");
        older.Start();
        List<string> asked = [];
        Task serving = ServeAsync();
        await using (RemoteStorageNode node = await RemoteStorageNode.ConnectAsync(new Uri($"http://127.0.0.1:{port}"), ServedDrives.Secret, ServedDrives.Quick(), null, null, Token))
        {
            for (int i = 0; i < 3; i++)
            {
                byte[] read = new byte[100_000];
                await Assert.Single(node.Drives).ReadOnceAsync(Make.Address(fragment), 0, read, Token).AsTask().WaitAsync(Deadline, Token);
                Assert.Equal(fragment.Payload.ToArray(), read);
            }

            Assert.Empty(await ((IVolumeVerifier)Assert.Single(node.Drives)).ListSealedVolumesAsync(Token).AsTask().WaitAsync(Deadline, Token));
            Assert.True(node.IsReachable);
        }

        older.Stop();
        await serving;
        Assert.Equal(["read-once", "read", "read", "read", "volumes"], asked.Where(operation => operation != "hello"));

        async Task ServeAsync()
        {
            while (true)
            {
                HttpListenerContext http;
                try
                {
                    http = await older.GetContextAsync();
                }
                catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
                {
                    return;
                }

                string path = http.Request.Url!.AbsolutePath;
                asked.Add(path[(path.LastIndexOf('/') + 1)..]);
                if (path.EndsWith("/read-once", StringComparison.Ordinal) || path.EndsWith("/volumes", StringComparison.Ordinal))
                {
                    http.Response.StatusCode = 404;
                }
                else
                {
                    using FragmentAnswer answer = await server.HandleAsync("POST", path, http.Request.ContentLength64, System.IO.Pipelines.PipeReader.Create(http.Request.InputStream), Token);
                    http.Response.ContentType = "application/vnd.objectstore.frame";
                    http.Response.ContentLength64 = answer.Frame.Length + answer.Payload.Length;
                    await http.Response.OutputStream.WriteAsync(answer.Frame, Token);
                    await http.Response.OutputStream.WriteAsync(answer.Payload, Token);
                }

                http.Response.Close();
            }
        }
    }

    [Fact]
    public async Task Node_ThatIsDownAtTheStart_IsTakenInWhenItComes()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        await served.StopAsync();
        await using RemoteStorageNode node = await served.ConnectAsync();
        Assert.Empty(node.Drives);
        Assert.False(node.IsReachable);
        TaskCompletionSource back = new(TaskCreationOptions.RunContinuationsAsynchronously);
        node.Changed += changed =>
        {
            if (changed.IsReachable) back.TrySetResult();
        };
        await served.StartAgainAsync();
        await back.Task.WaitAsync(Deadline, Token);
        await node.Drives[0].WriteAsync(Make.Copy(10), sync: true, Token);
    }

    [Fact]
    public async Task Node_ThatGoesAway_IsUnavailableAtOnce_AndServesAgainWhenItIsBack()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        await using RemoteStorageNode node = await served.ConnectAsync();
        IFragmentStore drive = node.Drives[0];
        FragmentWrite fragment = Make.Copy(100_000);
        FragmentTicket unsynced = await drive.WriteAsync(fragment, sync: false, Token);
        TaskCompletionSource lost = new(TaskCreationOptions.RunContinuationsAsynchronously), back = new(TaskCreationOptions.RunContinuationsAsynchronously);
        node.Changed += changed => (changed.IsReachable ? back : lost).TrySetResult();
        await served.StopAsync();
        await Assert.ThrowsAsync<DriveUnavailableException>(async () => await drive.ReadAsync(Make.Address(fragment), 0, new byte[100_000], Token));
        await lost.Task.WaitAsync(Deadline, Token);
        DriveUnavailableException unavailable = await Assert.ThrowsAsync<DriveUnavailableException>(async () => await drive.WriteAsync(fragment, sync: true, Token));
        Assert.Equal(drive.DriveId, unavailable.DriveId);

        await served.StartAgainAsync();
        await back.Task.WaitAsync(Deadline, Token);
        Assert.Same(drive, node.Drives[0]);
        await drive.ReadAsync(Make.Address(fragment), 0, new byte[100_000], Token);

        // A ticket of the earlier run says nothing any more: what it stands for may be lost.
        await Assert.ThrowsAsync<DriveUnavailableException>(async () => await drive.SyncAsync(new[] { unsynced }, Token));
        await drive.SyncAsync(new[] { await drive.WriteAsync(fragment, sync: false, Token) }, Token);
    }

    [Fact]
    public async Task Node_RestartedBetweenTwoRequests_IsNoticedByTheSecond()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        await using RemoteStorageNode node = await served.ConnectAsync();
        IFragmentStore drive = node.Drives[0];
        FragmentTicket before = await drive.WriteAsync(Make.Copy(100_000), sync: false, Token);
        await served.StopAsync();
        await served.StartAgainAsync();
        FragmentTicket after = await drive.WriteAsync(Make.Copy(100_000), sync: false, Token);
        Assert.NotEqual(before.EndOffset >> 47, after.EndOffset >> 47);
        await drive.SyncAsync(new[] { after }, Token);
        await Assert.ThrowsAsync<DriveUnavailableException>(async () => await drive.SyncAsync(new[] { before, after }, Token));
    }

    [Fact]
    public async Task Node_StoppedWithinARequest_IsUnavailable()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        await using RemoteStorageNode node = await served.ConnectAsync();
        TaskCompletionSource begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
        served.Memory.Fault = async (_, _, token) =>
        {
            begun.TrySetResult();
            await Task.Delay(Timeout.Infinite, token);
        };
        Task<FragmentTicket>[] writes =
        [
            node.Drives[0].WriteAsync(Make.Copy(10), sync: true, Token).AsTask(), node.Drives[0].WriteAsync(Make.Copy(20), sync: true, Token).AsTask(),
            node.Drives[0].WriteAsync(Make.Copy(1 << 20), sync: true, Token).AsTask(),
        ];
        await begun.Task.WaitAsync(Deadline, Token);
        await served.StopAsync();
        foreach (Task<FragmentTicket> write in writes) await Assert.ThrowsAsync<DriveUnavailableException>(() => write.WaitAsync(Deadline, Token));
    }

    [Fact]
    public async Task Drive_ThatHangs_IsUnavailableWithinItsTime_AndTheNodeIsNot()
    {
        await using ServedDrives served = await ServedDrives.StartAsync(
            null, null, new MemoryFragmentStore(Guid.NewGuid(), TimeProvider.System), new MemoryFragmentStore(Guid.NewGuid(), TimeProvider.System));
        await using RemoteStorageNode node = await served.ConnectAsync(ServedDrives.Quick(idleSeconds: 0.3));
        served.Memory.Fault = async (_, _, token) => await Task.Delay(Timeout.Infinite, token);
        DriveUnavailableException unavailable = await Assert.ThrowsAsync<DriveUnavailableException>(
            () => node.Drives[0].WriteAsync(Make.Copy(10), sync: true, Token).AsTask().WaitAsync(Deadline, Token));
        Assert.Contains("not answered", unavailable.Message, StringComparison.Ordinal);
        await node.Drives[1].WriteAsync(Make.Copy(10), sync: true, Token);
        Assert.True(node.IsReachable);
    }

    [Fact]
    public async Task Drive_ThatHangsUnderManyRequests_KeepsNothingFromItsNeighbours_AndNoneOfThemForLong()
    {
        await using ServedDrives served = await ServedDrives.StartAsync(
            null, null, new MemoryFragmentStore(Guid.NewGuid(), TimeProvider.System), new MemoryFragmentStore(Guid.NewGuid(), TimeProvider.System));
        await using RemoteStorageNode node = await served.ConnectAsync(ServedDrives.Quick(idleSeconds: 5));
        int limit = node.Options.MaxRequestsPerDrive, hanging = 0;
        TaskCompletionSource full = new(TaskCreationOptions.RunContinuationsAsynchronously);
        served.Memory.Fault = async (_, _, token) =>
        {
            if (Interlocked.Increment(ref hanging) == limit) full.TrySetResult();
            await Task.Delay(Timeout.Infinite, token);
        };
        Task[] waiting = [.. Enumerable.Range(0, 3 * limit).Select(_ => node.Drives[0].StatAsync(Make.Copy(1).Key, Token).AsTask())];
        await full.Task.WaitAsync(Deadline, Token);
        FragmentWrite write = Make.Copy(100_000);
        await node.Drives[1].WriteAsync(write, sync: true, Token).AsTask().WaitAsync(TimeSpan.FromSeconds(4), Token);
        Assert.NotNull(await node.Drives[1].StatAsync(write.Key, Token).AsTask().WaitAsync(TimeSpan.FromSeconds(4), Token));
        Assert.Equal(limit, hanging);
        foreach (Task one in waiting)
            await Assert.ThrowsAsync<DriveUnavailableException>(() => one.WaitAsync(Deadline, Token));
        Assert.True(node.IsReachable);
    }

    [Fact]
    public async Task SmallWritesToADriveThatHangs_EndTogether()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        await using RemoteStorageNode node = await served.ConnectAsync(ServedDrives.Quick(idleSeconds: 0.5));
        int begun = 0;
        served.Memory.Fault = async (_, _, token) =>
        {
            Interlocked.Increment(ref begun);
            await Task.Delay(Timeout.Infinite, token);
        };
        Task[] waiting = [.. Enumerable.Range(0, 500).Select(_ => node.Drives[0].WriteAsync(Make.Copy(10), sync: true, Token).AsTask())];
        foreach (Task one in waiting)
            await Assert.ThrowsAsync<DriveUnavailableException>(() => one.WaitAsync(Deadline, Token));

        // The first alone, perhaps a batch of those that came meanwhile; not eight batches one after the other.
        Assert.InRange(begun, 1, 1 + FragmentProtocol.MaxBatchFragments);
    }

    [Fact]
    public async Task Node_ThatAcceptsAndNeverAnswers_IsUnavailable()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        await using RemoteStorageNode node = await served.ConnectAsync(ServedDrives.Quick(idleSeconds: 0.3));
        await served.StopAsync();
        using TcpListener hung = new(IPAddress.Loopback, served.Address.Port);
        hung.Start();
        await Assert.ThrowsAsync<DriveUnavailableException>(() => node.Drives[0].WriteAsync(Make.Copy(1 << 20), sync: true, Token).AsTask().WaitAsync(Deadline, Token));
    }

    [Fact]
    public async Task RequestsThatWaitForTheirTurn_EndWhenTheNodeIsLost()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        await using RemoteStorageNode node = await served.ConnectAsync(new RemoteStorageNodeOptions { IdleTimeout = TimeSpan.FromMinutes(5), HelloTimeout = TimeSpan.FromMilliseconds(300), HelloInterval = TimeSpan.FromMilliseconds(50), MaxRequestsPerDrive = 2 });
        await served.StopAsync();
        using TcpListener hung = new(IPAddress.Loopback, served.Address.Port);
        hung.Start();
        Task[] requests = [.. Enumerable.Range(0, 10).Select(_ => node.Drives[0].StatAsync(Make.Copy(1).Key, Token).AsTask())];
        List<Task> left = [.. requests];
        for (int ended = 0; ended < 8; ended++)
        {
            Task one = await Task.WhenAny(left).WaitAsync(Deadline, Token);
            left.Remove(one);
            await Assert.ThrowsAsync<DriveUnavailableException>(() => one);
        }

        Assert.False(node.IsReachable);
        Assert.Contains("node", (await Assert.ThrowsAsync<DriveUnavailableException>(() => node.Drives[0].StatAsync(Make.Copy(1).Key, Token).AsTask().WaitAsync(Deadline, Token))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task SmallWritesBehindOneThatBreaksTheNode_AreStored()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        await using RemoteStorageNode node = await served.ConnectAsync();
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously), first = new(TaskCreationOptions.RunContinuationsAsynchronously);
        served.Memory.Fault = async (_, _, token) =>
        {
            if (!first.TrySetResult()) return;
            await release.Task.WaitAsync(token);
            throw new InvalidOperationException("unforeseen");
        };
        Task breaks = node.Drives[0].WriteAsync(Make.Copy(10), sync: true, Token).AsTask();
        await first.Task.WaitAsync(Deadline, Token);
        Task[] behind = [.. Enumerable.Range(0, 200).Select(_ => node.Drives[0].WriteAsync(Make.Copy(10), sync: true, Token).AsTask())];
        release.SetResult();
        await Assert.ThrowsAsync<DriveUnavailableException>(() => breaks.WaitAsync(Deadline, Token));
        await Task.WhenAll(behind).WaitAsync(Deadline, Token);
        Assert.Equal(200, served.Memory.Count);
    }

    [Fact]
    public async Task Node_WithoutRoom_IsAskedAgain_AndUnavailableWhenItStaysSo()
    {
        await using ServedDrives served = await ServedDrives.StartAsync(ServedDrives.Options(maxRequests: 2));
        await using RemoteStorageNode node = await served.ConnectAsync(ServedDrives.Quick(busySeconds: 0.3));
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously), two = new(TaskCreationOptions.RunContinuationsAsynchronously);
        int begun = 0;
        served.Memory.Fault = async (_, _, token) =>
        {
            if (Interlocked.Increment(ref begun) == 2) two.TrySetResult();
            await release.Task.WaitAsync(token);
        };
        IFragmentStore drive = node.Drives[0];
        Task[] held = [drive.WriteAsync(Make.Copy(100_000), sync: true, Token).AsTask(), drive.WriteAsync(Make.Copy(100_000), sync: true, Token).AsTask()];
        await two.Task.WaitAsync(Deadline, Token);
        DriveUnavailableException busy = await Assert.ThrowsAsync<DriveUnavailableException>(async () => await drive.StatAsync(Make.Copy(1).Key, Token));
        Assert.Contains("room", busy.Message, StringComparison.Ordinal);

        // Another caller has more time than any machine needs to end the two.
        await using RemoteStorageNode patient = await served.ConnectAsync(ServedDrives.Quick(busySeconds: 20));
        Task later = patient.Drives[0].StatAsync(Make.Copy(1).Key, Token).AsTask();
        release.SetResult();
        await Task.WhenAll([.. held, later]).WaitAsync(Deadline, Token);
        Assert.Equal(2, served.Memory.Count);
    }

    [Fact]
    public async Task Node_WithoutRoomForTheBytes_TakesNoMore()
    {
        await using ServedDrives served = await ServedDrives.StartAsync(ServedDrives.Options(maxBytes: 1 << 20));
        await using RemoteStorageNode node = await served.ConnectAsync(ServedDrives.Quick(busySeconds: 0.2));
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously), one = new(TaskCreationOptions.RunContinuationsAsynchronously);
        served.Memory.Fault = async (_, _, token) =>
        {
            one.TrySetResult();
            await release.Task.WaitAsync(token);
        };
        Task held = node.Drives[0].WriteAsync(Make.Copy(1 << 20), sync: true, Token).AsTask();
        await one.Task.WaitAsync(Deadline, Token);
        await Assert.ThrowsAsync<DriveUnavailableException>(async () => await node.Drives[0].WriteAsync(Make.Copy(1 << 20), sync: true, Token));
        release.SetResult();
        await held.WaitAsync(Deadline, Token);
    }

    [Fact]
    public async Task Dispose_EndsWhatIsUnderWay()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        RemoteStorageNode node = await served.ConnectAsync();
        TaskCompletionSource begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
        served.Memory.Fault = async (_, _, token) =>
        {
            begun.TrySetResult();
            await Task.Delay(Timeout.Infinite, token);
        };
        IFragmentStore drive = node.Drives[0];
        Task<FragmentTicket> write = drive.WriteAsync(Make.Copy(10), sync: true, Token).AsTask();
        await begun.Task.WaitAsync(Deadline, Token);
        await node.DisposeAsync().AsTask().WaitAsync(Deadline, Token);
        await Assert.ThrowsAsync<DriveUnavailableException>(() => write.WaitAsync(Deadline, Token));
        await Assert.ThrowsAsync<DriveUnavailableException>(async () => await drive.GetStatisticsAsync(Token));
    }

    [Fact]
    public async Task Answer_DamagedOnTheWay_IsNeverTakenForTheFragment()
    {
        await using ServedDrives served = await ServedDrives.StartAsync();
        await using DamagingProxy proxy = new(served.Address.Port);
        await using RemoteStorageNode node = await RemoteStorageNode.ConnectAsync(proxy.Address, ServedDrives.Secret, ServedDrives.Quick(), null, null, Token);
        FragmentWrite fragment = Make.Copy(200_000);
        await node.Drives[0].WriteAsync(fragment, sync: true, Token);
        proxy.DamageAnswersBeyondBytes = 150_000;
        byte[] read = new byte[200_000];
        DriveUnavailableException unavailable = await Assert.ThrowsAsync<DriveUnavailableException>(async () => await node.Drives[0].ReadAsync(Make.Address(fragment), 0, read, Token));
        Assert.Contains("checksum", unavailable.Message, StringComparison.Ordinal);
        proxy.DamageAnswersBeyondBytes = null;
        await node.Drives[0].ReadAsync(Make.Address(fragment), 0, read, Token);
        Assert.Equal(fragment.Payload.ToArray(), read);
    }

    /// <summary>Passes bytes on, and changes one of those that come back once so many have in the same answer.</summary>
    private sealed class DamagingProxy : IAsyncDisposable
    {
        private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
        private readonly CancellationTokenSource _stop = new();
        private readonly Task _accepting;

        public DamagingProxy(int port)
        {
            _listener.Start();
            Address = new Uri($"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}");
            _accepting = AcceptAsync(port);
        }

        public Uri Address { get; }

        public int? DamageAnswersBeyondBytes { get; set; }

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            _listener.Stop();
            await _accepting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            _stop.Dispose();
        }

        private async Task AcceptAsync(int port)
        {
            List<Task> connections = [];
            try
            {
                while (true)
                {
                    TcpClient client = await _listener.AcceptTcpClientAsync(_stop.Token);
                    connections.Add(ServeAsync(client, port));
                }
            }
            finally
            {
                await Task.WhenAll(connections).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        private async Task ServeAsync(TcpClient client, int port)
        {
            using (client)
            using (TcpClient server = new())
            {
                await server.ConnectAsync(IPAddress.Loopback, port, _stop.Token);
                await Task.WhenAny(PassAsync(client, server, damage: false), PassAsync(server, client, damage: true));
            }
        }

        private async Task PassAsync(TcpClient from, TcpClient to, bool damage)
        {
            byte[] buffer = new byte[8192];
            int passed = 0;
            while (await from.GetStream().ReadAsync(buffer, _stop.Token) is var read and > 0)
            {
                if (damage && buffer.AsSpan(0, read).StartsWith("HTTP/1.1"u8)) passed = 0;
                if (damage && DamageAnswersBeyondBytes is { } at && passed <= at && passed + read > at) buffer[at - passed] ^= 1;
                passed += read;
                await to.GetStream().WriteAsync(buffer.AsMemory(0, read), _stop.Token);
            }
        }
    }
}
