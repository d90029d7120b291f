using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Transport;

/// <summary>
/// The data plane's own listener: a Kestrel with limits for fragments, apart from that of S3, so that neither can take the other's connections. Requests that are not
/// the fragment protocol's go to <c>others</c>, where there is one.
/// </summary>
internal sealed class FragmentListener : IAsyncDisposable
{
    private readonly WebApplication _application;
    private int _disposed;

    private FragmentListener(WebApplication application)
    {
        _application = application;
        Address = new Uri(application.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());
    }

    /// <summary>With the port that was taken.</summary>
    public Uri Address { get; }

    /// <exception cref="IOException">The address is in use.</exception>
    /// <exception cref="SocketException">The address cannot be listened on.</exception>
    public static async Task<FragmentListener> StartAsync(
        FragmentServer server, IPAddress address, int port, Action<ILoggingBuilder> logging, TimeSpan drainTimeout, RequestDelegate? others = null, CancellationToken cancellationToken = default)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { ApplicationName = "ObjectStore" });
        logging(builder.Logging);
        builder.Services.AddSingleton<IMemoryPoolFactory<byte>, LargeBlockMemoryPoolFactory>();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.AllowSynchronousIO = false;
            kestrel.Limits.MaxRequestBodySize = FragmentServer.MaxRequestBodyBytes;
            kestrel.Limits.MaxConcurrentConnections = 16 * 1024; // 64 for each drive of each caller at most, and those for hello
            kestrel.Limits.MaxRequestHeadersTotalSize = 8 * 1024;
            kestrel.Limits.MaxRequestHeaderCount = 32;
            kestrel.Limits.MaxRequestLineSize = 2 * 1024;

            // An answer has its place until nearly all of it has been handed to the network: what nobody reads would else be held beyond the bound on answers.
            kestrel.Limits.MaxRequestBufferSize = 1 << 20;
            kestrel.Limits.MaxResponseBufferSize = 64 << 10;
            kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(10);

            // A peer that is gone without a word holds its request's place no longer than the client would wait: half a minute for the largest.
            kestrel.Limits.MinRequestBodyDataRate = new MinDataRate(bytesPerSecond: 64 << 10, gracePeriod: TimeSpan.FromSeconds(10));
            kestrel.Limits.MinResponseDataRate = new MinDataRate(bytesPerSecond: 64 << 10, gracePeriod: TimeSpan.FromSeconds(10));
            kestrel.Listen(address, port, listen => listen.Protocols = HttpProtocols.Http1);
        });
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = drainTimeout);

        // Whoever hosts this one takes the signals.
        builder.Services.AddSingleton<IHostLifetime, NoLifetime>();
        WebApplication application = builder.Build();
        try
        {
            FragmentEndpoints endpoints = new(server);
            application.Run(http =>
            {
                if (FragmentEndpoints.Handles(http)) return endpoints.HandleAsync(http);
                if (others is not null) return others(http);
                http.Response.StatusCode = StatusCodes.Status404NotFound;
                return Task.CompletedTask;
            });
            await application.StartAsync(cancellationToken);
            return new FragmentListener(application);
        }
        catch
        {
            await application.DisposeAsync();
            throw;
        }
    }

    /// <summary>Takes no more requests, and waits for those under way as long as the drain timeout says. Only the first call does anything.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0) return;
        await _application.StopAsync();
        await _application.DisposeAsync();
    }

    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
