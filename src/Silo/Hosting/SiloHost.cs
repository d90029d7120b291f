using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using ObjectStore.Gateway;
using ObjectStore.Grains;
using ObjectStore.Maintenance.Compaction;
using ObjectStore.Maintenance.Liveness;
using ObjectStore.Maintenance.Reclamation;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Scrubbing;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Metadata;
using ObjectStore.Metadata.Sqlite;
using ObjectStore.S3.Signing;
using ObjectStore.Silo.Configuration;
using ObjectStore.Silo.Observability;
using ObjectStore.Storage;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;
using Orleans;

namespace ObjectStore.Silo.Hosting;

/// <summary>Wires the planes together in one process and runs them. Opening goes data folder, drives, metadata, grains, gateway; stopping the other way round.</summary>
internal static class SiloHost
{
    public static async Task<int> RunAsync(SiloOptions options)
    {
        long started = Stopwatch.GetTimestamp();
        using DataFolder folder = DataFolder.Open(options.DataPath, options.ClusterId, ClusterSecrets.Load(options)?.DerivedClusterId);
        Credentials credentials = Credentials.Load(folder.CredentialsFile, options.AccessKey, options.SecretKey);
        AdminToken token = AdminToken.Load(folder.AdminTokenFile);
        WebApplicationBuilder builder = CreateBuilder(options);
        using ILoggerFactory logs = LoggerFactory.Create(logging => ConfigureLogging(logging, options));
        Topology topology = options.TopologyPath is { } path ? Topology.Load(path) : Topology.None;
        _ = topology.PlacesOf(Environment.MachineName, options.DrivePaths);
        if (options.StorageNodes.Count == 0) TellNarrowedSchemes(options, options.DrivePaths.Count, logs.CreateLogger("ObjectStore.Placement"));
        StorageEventLog storageEvents = new(logs.CreateLogger("ObjectStore.Storage"));
        NodeMap map = NodeMap.Open(folder.Root, logs.CreateLogger<NodeMap>());
        using StopClock stop = new(options.DrainTimeout, TimeProvider.System, logs.CreateLogger("ObjectStore.Stop"));

        await using IMetadataStore metadata = await OpenMetadataAsync(folder);
        using RepairQueue queue = new(metadata, TimeProvider.System, new RepairQueueOptions(), logs.CreateLogger<RepairQueue>());
        await using DataPlane plane = await DataPlane.OpenAsync(options, folder, map, queue, storageEvents, stop);
        PrometheusExporter exporter = new();
        AddServices(builder, options, folder, credentials, token, plane, metadata, exporter, topology, map, queue);
        DrainingServer.Add(builder.Services, stop);
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = stop.HostLimit);
        await using WebApplication application = builder.Build();
        IServiceProvider services = application.Services;
        ServiceState state = new();
        application.Lifetime.ApplicationStopping.Register(() =>
        {
            state.Stop();
            stop.Begin();
            plane.BeginStop();
        });
        S3Gateway gateway = OpenGateway(services);
        OperatorEndpoints endpoints = new(state, exporter, plane.GetStatisticsAsync, services.GetRequiredService<Redundancy>());
        using DriveGauges gauges = new(() => plane.Health);
        using PoolGauges poolGauges = new(services.GetRequiredService<Redundancy>());
        plane.Extents.MapOwner = services.GetRequiredService<PoolClient>();
        await services.GetRequiredService<PauseKeeper>().RestoreAsync(CancellationToken.None);
        AdminEndpoints admin = services.GetRequiredService<AdminEndpoints>();
        ForegroundLoad load = services.GetRequiredService<ForegroundLoad>();
        application.Run(http => endpoints.Handles(http) ? endpoints.HandleAsync(http) : AdminEndpoints.Handles(http) ? admin.HandleAsync(http) : HandleAsync(gateway, load, http));
        RequireAddress(options);
        CancellationToken stopping = application.Lifetime.ApplicationStopping;
        try
        {
            await application.StartAsync();
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // The signal came while services were being started; those that were are stopped.
            await application.StopAsync();
            return 0;
        }
        catch (IOException e) when (e.InnerException is AddressInUseException or SocketException)
        {
            throw new StartException($"cannot listen on http://{new IPEndPoint(options.Address, options.Port)}: the port is in use", e);
        }
        catch (SocketException e)
        {
            throw new StartException($"cannot listen on http://{new IPEndPoint(options.Address, options.Port)}: {e.Message}", e);
        }

        // A signal may come at any moment of what follows: the host then stops before it has served.
        await services.GetRequiredService<StorageNodeRegistration>().RegisterAsync(CancellationToken.None);
        await services.GetRequiredService<StorageNodeKeeper>().BeatAsync(CancellationToken.None);
        if (options.StorageNodes.Count > 0)
        {
            try
            {
                TellNarrowedSchemes(options, plane.Extents.ClusterMap.WritableDrives, logs.CreateLogger("ObjectStore.Placement"));
            }
            catch (StartException)
            {
                await application.StopAsync();
                throw;
            }
        }

        if (!stopping.IsCancellationRequested) await plane.ServeAsync(options, folder, logs.CreateLogger("ObjectStore.Transport"));
        if (!stopping.IsCancellationRequested)
        {
            services.GetRequiredService<RepairService>().Wake();
            state.Serve();
            string address = services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
            Banner.Print(Console.Out, address, options, plane.Extents.ClusterMap.WritableDrives, folder, credentials, Stopwatch.GetElapsedTime(started));
        }

        await application.WaitForShutdownAsync();
        return 0;
    }

    /// <summary>
    /// Refuses an address that cannot be listened on before anything is started: a host that fails to start stops its background services before some of them have begun, and reports each of
    /// these as a failure of its own.
    /// </summary>
    private static void RequireAddress(SiloOptions options)
    {
        using Socket socket = new(options.Address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            // As Kestrel does: connections of an earlier process that are still closing are no reason to refuse.
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
            socket.Bind(new IPEndPoint(options.Address, options.Port));
            socket.Listen();
        }
        catch (SocketException e)
        {
            throw new StartException(
                $"cannot listen on http://{new IPEndPoint(options.Address, options.Port)}: {(e.SocketErrorCode == SocketError.AddressAlreadyInUse ? "the port is in use" : e.Message)}", e);
        }
    }

    /// <summary>Reads tell background work how clients fare.</summary>
    private static Task HandleAsync(S3Gateway gateway, ForegroundLoad load, HttpContext http)
    {
        return HttpMethods.IsGet(http.Request.Method) ? TimedAsync() : gateway.HandleAsync(http);

        async Task TimedAsync()
        {
            long began = Stopwatch.GetTimestamp();
            await gateway.HandleAsync(http);
            load.Record(Stopwatch.GetElapsedTime(began));
        }
    }

    /// <exception cref="StartException">A scheme that was asked for needs more drives than there are.</exception>
    private static void TellNarrowedSchemes(SiloOptions options, int drives, ILogger logger)
    {
        if (options.Schemes.Place(drives) is not { Count: > 0 } narrowed) return;
        logger.LogWarning(
            "Too few drives ({Drives}) for the schemes of some storage classes; narrower ones are used: {Schemes}",
            drives, string.Join(", ", narrowed.Select(each => $"{each.StorageClass} {each.Used} instead of {each.Meant}")));
    }

    private static WebApplicationBuilder CreateBuilder(SiloOptions options)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { ContentRootPath = options.DataPath, ApplicationName = "ObjectStore" });
        ConfigureLogging(builder.Logging, options);
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.AllowSynchronousIO = false;
            kestrel.Limits.MaxRequestBodySize = null;
            kestrel.Limits.MaxConcurrentConnections = 10_000;

            // S3 allows 8 KiB of headers beside 2 KiB of user metadata, and a presigned URL may itself be long.
            kestrel.Limits.MaxRequestHeadersTotalSize = 64 * 1024;
            kestrel.Limits.MaxRequestLineSize = 16 * 1024;
            kestrel.Limits.MaxRequestHeaderCount = 256;
            kestrel.Limits.MaxRequestBufferSize = 1 << 20;
            kestrel.Limits.MaxResponseBufferSize = 1 << 20;

            // Whoever takes less than this of what has been sent to it is cut off: it holds a shard's buffer all the while.
            kestrel.Limits.MinResponseDataRate = new MinDataRate(bytesPerSecond: 1 << 10, gracePeriod: TimeSpan.FromSeconds(30));
            kestrel.RequestHeaderEncodingSelector = _ => System.Text.Encoding.UTF8;
            kestrel.ResponseHeaderEncodingSelector = _ => System.Text.Encoding.UTF8;
            kestrel.Listen(options.Address, options.Port, listen => listen.Protocols = HttpProtocols.Http1);
        });
        builder.Services.AddSingleton<IHostLifetime, SignalLifetime>();
        return builder;
    }

    internal static void ConfigureLogging(ILoggingBuilder logging, SiloOptions options)
    {
        logging.SetMinimumLevel(options.LogLevel);
        logging.AddFilter("Microsoft", options.LogLevel > LogLevel.Warning ? options.LogLevel : LogLevel.Warning);

        // A failed start is told in one line on stderr; the host's own account of it is a stack trace. Its critical events still come.
        logging.AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.Critical);
        logging.AddFilter("Orleans", options.LogLevel > LogLevel.Warning ? options.LogLevel : LogLevel.Warning);
        logging.AddFilter("Polly", options.LogLevel > LogLevel.Warning ? options.LogLevel : LogLevel.Warning); // what Orleans retries
        if (options.JsonLogs) logging.AddJsonConsole(console => console.UseUtcTimestamp = true);
        else logging.AddSimpleConsole(console => (console.SingleLine, console.UseUtcTimestamp, console.TimestampFormat) = (true, true, "yyyy-MM-ddTHH:mm:ss.fffZ "));
    }

    /// <summary>Opens the grains' store, and makes the gateway.</summary>
    private static S3Gateway OpenGateway(IServiceProvider services)
    {
        try
        {
            GrainHosting.Open(services);
            return services.GetRequiredService<S3Gateway>();
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
        {
            throw new StartException(e.Message, e);
        }
    }

    private static async Task<IMetadataStore> OpenMetadataAsync(DataFolder folder)
    {
        try
        {
            return await SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = folder.MetadataFolder });
        }
        catch (MetadataStoreException e)
        {
            throw new StartException(e.Message, e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartException($"the metadata store cannot be opened: {e.Message}", e);
        }
    }

    private static void AddServices(
        WebApplicationBuilder builder, SiloOptions options, DataFolder folder, Credentials credentials, AdminToken token, DataPlane plane, IMetadataStore metadata, PrometheusExporter exporter,
        Topology topology, NodeMap map, RepairQueue queue)
    {
        IServiceCollection services = builder.Services;
        services.AddSingleton(TimeProvider.System);
        services.AddSingleton<IProcessPulse, ProcessPulse>();
        services.AddSingleton(metadata);
        services.AddSingleton<IMaintenanceStore>(metadata);
        services.AddSingleton<IExtentStore>(plane.Extents);
        services.AddSingleton(plane);
        services.AddSingleton(plane.Directory);
        services.AddSingleton(topology);
        services.AddSingleton(token);
        services.AddSingleton(exporter);
        services.AddSingleton<ICredentialStore>(credentials);
        services.AddObjectStoreGrains(new GrainOptions { GarbageGrace = options.GarbageGrace, DownOutAfter = options.DownOutAfter });
        services.AddSingleton(map);
        services.AddSingleton(new NodeDrives(() => plane.Health));
        services.AddSingleton(provider => new GatewayServices(
            provider.GetRequiredService<IGrainFactory>(), plane.Extents, TimeProvider.System, () => (RandomBits(), RandomBits()),
            new GatewayOptions { Region = options.Region, Domains = options.Domains.Count > 0 ? options.Domains : new GatewayOptions().Domains }));
        services.AddSingleton<S3Gateway>();

        // Hosted services stop in the reverse of this order: the grains outlive everything that calls them, and Kestrel, which the web host
        // adds last, stops first, so that requests in flight end while all they need still runs.
        GrainHosting.Add(builder, folder);

        // A grace that is shorter than the round would be the round in truth.
        TimeSpan round = new GarbageReclaimerOptions().Interval;
        if (options.GarbageGrace < round) round = options.GarbageGrace > TimeSpan.FromSeconds(1) ? options.GarbageGrace : TimeSpan.FromSeconds(1);
        services.AddSingleton(new GarbageReclaimerOptions { Interval = round });
        services.AddSingleton<GarbageReclaimer>();
        services.AddHostedService(provider => provider.GetRequiredService<GarbageReclaimer>());
        AddMaintenance(services, options, folder, plane, queue);
    }

    private static void AddMaintenance(IServiceCollection services, SiloOptions options, DataFolder folder, DataPlane plane, RepairQueue queue)
    {
        services.AddSingleton(queue);
        services.AddSingleton<IRepairSink>(queue);
        services.AddSingleton<PoolClient>();
        services.AddSingleton<ISlotCompletion>(provider => provider.GetRequiredService<PoolClient>());
        services.AddSingleton(plane.Extents.Repairer);
        services.AddSingleton<Func<IClusterMap>>(() => plane.Extents.ClusterMap);
        services.AddSingleton<ForegroundLoad>();
        services.AddSingleton<IForegroundLatency>(provider => provider.GetRequiredService<ForegroundLoad>());
        services.AddSingleton(new LoadGovernorOptions());
        services.AddSingleton(provider => new LoadGovernor(TimeProvider.System, provider.GetRequiredService<LoadGovernorOptions>(), provider.GetRequiredService<IForegroundLatency>(), plane.Extents.WriteLoad));
        services.AddSingleton(provider => new MetadataExtentLiveness(provider.GetRequiredService<IMaintenanceStore>(), TimeProvider.System, MetadataExtentLiveness.DefaultOrphanGrace,
            provider.GetRequiredService<ILogger<MetadataExtentLiveness>>()));
        services.AddSingleton<IExtentLiveness>(provider => provider.GetRequiredService<MetadataExtentLiveness>());

        // A drive is given up within this time, so no slower is what follows looked at.
        TimeSpan poll = options.DownOutAfter < TimeSpan.FromSeconds(5) ? TimeSpan.FromSeconds(1) : TimeSpan.FromSeconds(5);
        services.AddSingleton(new RepairOptions { BytesPerSecond = options.RepairBytesPerSecond, PollInterval = poll, RetryDelay = poll * 6, Schemes = [.. plane.Schemes.Schemes] });
        services.AddSingleton(new ScrubOptions { Period = options.ScrubPeriod, PollInterval = TimeSpan.FromSeconds(5) });
        services.AddSingleton(new Maintenance.Compaction.CompactionOptions());
        services.AddSingleton<RepairService>();
        services.AddSingleton<ScrubService>();
        FoundDamage damage = new(() => plane.Extents.ClusterMap, queue);
        services.AddSingleton(provider => new CompactionService(
            () => [.. plane.LocalStores.Select(drive => new Maintenance.Compaction.LocalDriveCompaction(drive, damage))], provider.GetRequiredService<LoadGovernor>(), TimeProvider.System,
            provider.GetRequiredService<Maintenance.Compaction.CompactionOptions>(), provider.GetRequiredService<ILogger<CompactionService>>()));
        services.AddSingleton<AnnouncedDrives>();
        services.AddSingleton<StorageNodeKeeper>();
        services.AddSingleton(provider => new StorageNodeRegistration(
            provider.GetRequiredService<IGrainFactory>(), Environment.MachineName, plane.GetDrivesInUseAsync, provider.GetRequiredService<Topology>(), options.DrivePaths,
            provider.GetRequiredService<NodeMap>(), provider.GetRequiredService<AnnouncedDrives>()));
        services.AddSingleton<PauseKeeper>();
        services.AddSingleton<Redundancy>();
        services.AddSingleton(provider => new AdminEndpoints(
            folder.ClusterId, provider.GetRequiredService<AdminToken>(), plane, provider.GetRequiredService<PoolClient>(), provider.GetRequiredService<RepairService>(),
            provider.GetRequiredService<ScrubService>(), provider.GetRequiredService<CompactionService>(), provider.GetRequiredService<LoadGovernor>(), options.ScrubPeriod,
            provider.GetRequiredService<PauseKeeper>(), provider.GetRequiredService<GarbageReclaimer>(), provider.GetRequiredService<MetadataExtentLiveness>(), provider.GetRequiredService<Redundancy>(),
            provider.GetRequiredService<StorageNodeRegistration>(),
            provider.GetRequiredService<ILogger<AdminEndpoints>>()));
        services.AddHostedService(provider => provider.GetRequiredService<LoadGovernor>());
        services.AddHostedService(provider => provider.GetRequiredService<RepairQueue>());
        services.AddHostedService(provider => provider.GetRequiredService<RepairService>());
        services.AddHostedService(provider => provider.GetRequiredService<ScrubService>());
        services.AddHostedService(provider => provider.GetRequiredService<CompactionService>());
        services.AddHostedService(provider => provider.GetRequiredService<StorageNodeKeeper>());
    }

    internal static ulong RandomBits()
    {
        Span<byte> bytes = stackalloc byte[8];
        RandomNumberGenerator.Fill(bytes);
        return BitConverter.ToUInt64(bytes);
    }
}
